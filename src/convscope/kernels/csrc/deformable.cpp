// Deformable convolution: the patches that its taps read where offsets move them, and the way back. The products with
// the weights between the two are torch's.
//
// Each call takes some output positions, counted through the batch. A patch is a row of (groups, K_h * K_w, C / groups)
// floats; pixels are channels-last, offsets (N, H_out, W_out, offset_groups, K_h * K_w, 2), the mask without the pair.
#include "abi.h"
#include "rows.h"
#include "threads.h"

namespace convscope {
namespace {

// Where a tap reads: top left, top right, bottom left and bottom right pixel, -1 outside, and what each counts.
struct Place {
  int32_t pixel[4];
  float share[4];
  float down, right, factor;  // of the place from the top left pixel, 0 to 1; the mask, or 1
};

// Channels that lie together in pixels and patches and move together.
struct Run {
  int64_t channel, count, column;  // the last of the first tap, in a patch
};

struct Positions {
  const Convolution& c;
  int64_t offset_groups, first, count;

  int64_t taps() const { return c.kernel[0] * c.kernel[1]; }
  int64_t places() const { return offset_groups * taps(); }  // of one position
  int64_t in_group() const { return c.in_channels / c.groups; }
  int64_t plane() const { return c.out_height * c.out_width; }
  int64_t image(int64_t row) const { return (first + row) / plane(); }
  int64_t image_size() const { return c.in_height * c.in_width * c.in_channels; }
  int64_t patch_size() const { return taps() * c.in_channels; }

  // The runs of one offset group, of these channels only.
  std::vector<Run> runs(int64_t offset_group, int64_t first_channel, int64_t last_channel) const {
    const int64_t moved = c.in_channels / offset_groups;
    std::vector<Run> result;
    const int64_t end = std::min(last_channel, (offset_group + 1) * moved);
    for (int64_t channel = std::max(first_channel, offset_group * moved); channel < end;) {
      const int64_t group = channel / in_group(), stop = std::min(end, (group + 1) * in_group());
      result.push_back({channel, stop - channel, group * in_group() * (taps() - 1) + channel});
      channel = stop;
    }
    return result;
  }
};

// Along one axis: the pixel before the place, and how far behind it the place is. Beyond one pixel outside nothing
// changes any more. A place that is not a number has no pixel, and makes a patch that is none.
inline int32_t find(float where, int64_t size, float& share) {
  where = where < -2 ? -2 : where > float(size) ? float(size) : where;
  if (where != where) {
    share = where;
    return -2;
  }
  int32_t pixel = int32_t(where);
  pixel -= where < float(pixel);
  share = where - float(pixel);
  return pixel;
}

void find_places(const Positions& p, const float* offset, const float* mask, Place* places) {
  const Convolution& c = p.c;
  share_out(p.count, int(c.threads), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t position = p.first + row, in_plane = position % p.plane();
      const int64_t top = in_plane / c.out_width * c.stride[0] - c.padding[0];
      const int64_t left = in_plane % c.out_width * c.stride[1] - c.padding[1];
      Place* place = places + row * p.places();
      const float* from = offset + position * p.places() * 2;
      const float* factor = mask ? mask + position * p.places() : nullptr;
      for (int64_t group = 0; group < p.offset_groups; ++group)
        for (int64_t tap_y = 0; tap_y < c.kernel[0]; ++tap_y)
          for (int64_t tap_x = 0; tap_x < c.kernel[1]; ++tap_x, ++place, from += 2) {
            const int32_t y = find(from[0] + float(top + tap_y * c.dilation[0]), c.in_height, place->down);
            const int32_t x = find(from[1] + float(left + tap_x * c.dilation[1]), c.in_width, place->right);
            place->factor = factor ? *factor++ : 1;
            const float shares[2] = {(1 - place->down) * place->factor, place->down * place->factor};
            for (int corner = 0; corner < 4; ++corner) {
              const int32_t row = y + corner / 2, column = x + corner % 2;
              const bool inside = row >= 0 && row < c.in_height && column >= 0 && column < c.in_width;
              place->pixel[corner] = inside ? int32_t(row * c.in_width + column) : -1;
              place->share[corner] = shares[corner / 2] * (corner % 2 ? place->right : 1 - place->right);
            }
          }
    }
  });
}

// Calls body(index, lanes) for each vector of `count` channels; the last may have fewer lanes.
template <class Body>
inline void each_vector(int64_t count, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, kLanes);
  if (i < count) body(i, int(count - i));
}

// The four pixels of a place, one of zeros for those outside.
struct Corners {
  const float* pixel[4];
  Vector share[4];

  Corners(const Place& place, const float* image, int64_t channels, const float* zeros) {
    for (int k = 0; k < 4; ++k) {
      pixel[k] = place.pixel[k] < 0 ? zeros : image + place.pixel[k] * channels;
      share[k] = broadcast(place.share[k]);
    }
  }
};

void read_patches(const Positions& p, const Place* places, const float* input, float* patches) {
  const std::vector<float> zeros(p.c.in_channels, 0.f);
  std::vector<std::vector<Run>> runs;
  for (int64_t group = 0; group < p.offset_groups; ++group) runs.push_back(p.runs(group, 0, p.c.in_channels));
  share_out(p.count, int(p.c.threads), [&](int64_t begin, int64_t end, int) {
    const Place* place = places + begin * p.places();
    for (int64_t row = begin; row < end; ++row) {
      const float* image = input + p.image(row) * p.image_size();
      for (int64_t group = 0; group < p.offset_groups; ++group)
        for (int64_t tap = 0; tap < p.taps(); ++tap, ++place) {
          const Corners corners(*place, image, p.c.in_channels, zeros.data());
          for (const Run& run : runs[group]) {
            float* to = patches + row * p.patch_size() + run.column + tap * p.in_group();
            const float* from[4];
            for (int k = 0; k < 4; ++k) from[k] = corners.pixel[k] + run.channel;
            each_vector(run.count, [&](int64_t i, int lanes) {
              Vector sum = corners.share[0] * load_first(from[0] + i, lanes);
#pragma GCC unroll 3
              for (int k = 1; k < 4; ++k) sum += corners.share[k] * load_first(from[k] + i, lanes);
              store_first(to + i, sum, lanes);
            });
          }
        }
    }
  });
}

// Adds to each pixel what the patches' gradient says. No two threads have the same channels of an image, and each pixel
// gets its terms in the order of the positions, however many threads there are.
void scatter(const Positions& p, const Place* places, const float* grad, float* grad_input) {
  const int64_t first_image = p.image(0), images = p.image(p.count - 1) - first_image + 1;
  const int64_t line = 16;  // channels in a cache line
  const int64_t wanted = ceil_divide(p.c.threads, images), lines = ceil_divide(p.c.in_channels, line);
  const int64_t block = ceil_divide(lines, std::min(wanted, lines)) * line;
  const int64_t blocks = ceil_divide(p.c.in_channels, block);
  share_out(images * blocks, int(p.c.threads), [&](int64_t begin, int64_t end, int) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t image = first_image + index / blocks, channel = index % blocks * block;
      const int64_t first = std::max<int64_t>(0, image * p.plane() - p.first);
      const int64_t last = std::min(p.count, (image + 1) * p.plane() - p.first);
      std::vector<std::vector<Run>> runs;
      for (int64_t group = 0; group < p.offset_groups; ++group)
        runs.push_back(p.runs(group, channel, std::min(channel + block, p.c.in_channels)));
      float* pixels = grad_input + image * p.image_size();
      for (int64_t row = first; row < last; ++row)
        for (int64_t group = 0; group < p.offset_groups; ++group)
          for (const Run& run : runs[group]) {
            const Place* place = places + row * p.places() + group * p.taps();
            const float* from = grad + row * p.patch_size() + run.column;
            for (int64_t tap = 0; tap < p.taps(); ++tap, ++place, from += p.in_group())
              for (int k = 0; k < 4; ++k) {
                if (place->pixel[k] < 0) continue;
                float* to = pixels + place->pixel[k] * p.c.in_channels + run.channel;
                const Vector share = broadcast(place->share[k]);
                each_vector(run.count, [&](int64_t i, int lanes) {
                  store_first(to + i, load_first(to + i, lanes) + share * load_first(from + i, lanes), lanes);
                });
              }
          }
    }
  });
}

inline float sum_of(Vector value) {
  float lanes[kLanes];
  store(lanes, value);
#pragma GCC unroll 4
  for (int width = kLanes / 2; width > 0; width /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

// The gradients of offsets and mask from the patches' gradient, in whose place the patches themselves are left.
void slopes(const Positions& p, const Place* places, const float* input, float* patches, float* grad_offset,
            float* grad_mask) {
  const std::vector<float> zeros(p.c.in_channels, 0.f);
  std::vector<std::vector<Run>> runs;
  for (int64_t group = 0; group < p.offset_groups; ++group) runs.push_back(p.runs(group, 0, p.c.in_channels));
  share_out(p.count, int(p.c.threads), [&](int64_t begin, int64_t end, int) {
    int64_t index = begin * p.places();
    for (int64_t row = begin; row < end; ++row) {
      const float* image = input + p.image(row) * p.image_size();
      for (int64_t group = 0; group < p.offset_groups; ++group)
        for (int64_t tap = 0; tap < p.taps(); ++tap, ++index) {
          const Place& place = places[index];
          const Corners corners(place, image, p.c.in_channels, zeros.data());
          Vector products[4] = {};
          for (const Run& run : runs[group]) {
            float* at = patches + row * p.patch_size() + run.column + tap * p.in_group();
            const float* from[4];
            for (int k = 0; k < 4; ++k) from[k] = corners.pixel[k] + run.channel;
            each_vector(run.count, [&](int64_t i, int lanes) {
              const Vector grad = load_first(at + i, lanes);
              Vector sum = {};
#pragma GCC unroll 4
              for (int k = 0; k < 4; ++k) {
                const Vector pixel = load_first(from[k] + i, lanes);
                products[k] += grad * pixel;
                sum += corners.share[k] * pixel;
              }
              store_first(at + i, sum, lanes);
            });
          }
          const Vector above = products[1] - products[0], below = products[3] - products[2];
          const Vector top = products[0] + place.right * above, bottom = products[2] + place.right * below;
          grad_offset[2 * index] = place.factor * sum_of(bottom - top);
          grad_offset[2 * index + 1] = place.factor * sum_of(above + place.down * (below - above));
          if (grad_mask) grad_mask[index] = sum_of(top + place.down * (bottom - top));
        }
    }
  });
}

Place* places_of(const Positions& p, const float* offset, const float* mask) {
  const int64_t count = p.count * p.places();
  Place* places = reinterpret_cast<Place*>(scratch<2>(count * int64_t(sizeof(Place) / sizeof(float))));
  find_places(p, offset, mask, places);
  return places;
}

}  // namespace
}  // namespace convscope

using namespace convscope;

// Fills the patches of positions [first, first + count); `mask` may be null.
CONVSCOPE_API void convscope_deformable_read(const Convolution* c, int64_t offset_groups, int64_t first, int64_t count,
                                             const float* input, const float* offset, const float* mask,
                                             float* patches) {
  const Positions p{*c, offset_groups, first, count};
  read_patches(p, places_of(p, offset, mask), input, patches);
}

// Takes the patches' gradient, and leaves the patches there. Adds to the input's gradient; the gradients of offset and
// mask are those of these positions alone.
CONVSCOPE_API void convscope_deformable_backward(const Convolution* c, int64_t offset_groups, int64_t first,
                                                 int64_t count, const float* input, const float* offset,
                                                 const float* mask, float* patches, float* grad_input,
                                                 float* grad_offset, float* grad_mask) {
  const Positions p{*c, offset_groups, first, count};
  const Place* places = places_of(p, offset, mask);
  scatter(p, places, patches, grad_input);
  slopes(p, places, input, patches, grad_offset, grad_mask);
}

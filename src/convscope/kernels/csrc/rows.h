// A convolution as the kernels see it, and its rows: the few rows of an image that a row of outputs reads, kept in a
// ring in the second-level cache with the zeros of the padding around them. Behind it there are no edges, no odd
// channel counts and no bfloat16. Images are channels-last: (N, H, W, C).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "vector.h"

namespace convscope {

// Laid out as `Convolution` in library.py. Weights are (C_out, C_in / groups, K_h, K_w).
struct Convolution {
  int64_t batch, in_channels, in_height, in_width;
  int64_t out_channels, out_height, out_width;
  int64_t kernel[2], stride[2], padding[2], dilation[2], groups;
  int64_t threads;
};

struct Image {
  int64_t height, width, channels;
  int64_t size() const { return height * width * channels; }
};
inline Image input_image(const Convolution& c) { return {c.in_height, c.in_width, c.in_channels}; }
inline Image output_image(const Convolution& c) { return {c.out_height, c.out_width, c.out_channels}; }

inline int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }
inline int64_t ceil_divide(int64_t a, int64_t b) { return -floor_divide(-a, b); }

// How outputs along one axis meet their input: output `start + i * stride` reads, at its n-th tap, pixel `first + i * step
// + n * spacing`, and multiplies it by entry `taps[n]` of the kernel.
struct Axis {
  int64_t start, stride, first, step, spacing;
  std::vector<int64_t> taps;
  int64_t last_tap() const { return (int64_t(taps.size()) - 1) * spacing; }
};

// The convolution itself: one axis for all its outputs.
inline Axis forward_axis(const Convolution& c, int axis) {
  Axis result{0, 1, -c.padding[axis], c.stride[axis], c.dilation[axis], {}};
  for (int64_t k = 0; k < c.kernel[axis]; ++k) result.taps.push_back(k);
  return result;
}

// The gradient of its input: one axis for every remainder of the input's position by the stride, some without any tap.
// Input i meets output j by tap k where i = j * stride - padding + k * dilation.
inline std::vector<Axis> backward_axes(const Convolution& c, int axis) {
  const int64_t stride = c.stride[axis];
  std::vector<Axis> axes;
  for (int64_t start = 0; start < stride; ++start) {
    Axis result{start, stride, 0, 1, 1, {}};
    int64_t previous = 0;
    for (int64_t k = c.kernel[axis] - 1; k >= 0; --k) {
      const int64_t distance = start + c.padding[axis] - k * c.dilation[axis];
      if (distance % stride != 0) continue;
      if (result.taps.empty()) result.first = distance / stride;
      else result.spacing = distance / stride - previous;
      previous = distance / stride;
      result.taps.push_back(k);
    }
    axes.push_back(result);
  }
  return axes;
}

// Channels are taken in groups of vectors; a group's rows are planes of (columns, kLanes), one a vector, since loads that
// lie a whole cache line apart would all meet the same bank of the cache.
template <class T>
class Rows {
 public:
  // Columns [first_column, first_column + columns) of rows from `next` on, of which the last `capacity` are kept.
  // The lanes of the planes are the channels from `channel` on, or those that `order` names (-1: zeros).
  Rows(float* data, const T* image, const Image& shape, int64_t channel, int64_t planes, int64_t first_column,
       int64_t columns, int64_t next, int64_t capacity, const int64_t* order = nullptr)
      : data_(data), image_(image), shape_(shape), channel_(channel), planes_(planes), first_column_(first_column),
        columns_(columns), pitch_(pitch(columns)), next_(next), capacity_(capacity), order_(order) {}

  // Odd, so that planes do not fall on the same lines of the first-level cache.
  static int64_t pitch(int64_t columns) { return (columns | 1) * kLanes; }
  static int64_t size(int64_t planes, int64_t columns, int64_t capacity) { return planes * pitch(columns) * capacity; }

  void read_until(int64_t end) {
    for (; next_ < end; ++next_) read(next_);
  }
  const float* row(int64_t index) const { return place(index); }  // of the first plane

 private:
  float* place(int64_t index) const {
    const int64_t slot = index % capacity_;
    return data_ + (slot < 0 ? slot + capacity_ : slot) * planes_ * pitch_;
  }

  void read(int64_t index) {
    float* to = place(index);
    const int64_t first = std::clamp<int64_t>(-first_column_, 0, columns_);
    const int64_t last = std::clamp<int64_t>(shape_.width - first_column_, first, columns_);
    if (index < 0 || index >= shape_.height) {
      std::fill(to, to + planes_ * pitch_, 0.f);
      return;
    }
    for (int64_t p = 0; p < planes_; ++p) {
      std::fill(to + p * pitch_, to + p * pitch_ + first * kLanes, 0.f);
      std::fill(to + p * pitch_ + last * kLanes, to + p * pitch_ + columns_ * kLanes, 0.f);
    }
    const T* from = image_ + (index * shape_.width + first_column_ + first) * shape_.channels;
    if (order_) {
      for (int64_t x = first; x < last; ++x, from += shape_.channels)
        for (int64_t lane = 0; lane < planes_ * kLanes; ++lane) {
          const float pixel = order_[lane] < 0 ? 0.f : to_float(from[order_[lane]]);
          to[lane / kLanes * pitch_ + x * kLanes + lane % kLanes] = pixel;
        }
      return;
    }
    from += channel_;
    const int64_t whole = std::min(planes_, (shape_.channels - channel_) / kLanes);
    int64_t x = first;
    for (; x + 4 <= last; x += 4, from += 4 * shape_.channels) read_pixels<4>(from, to + x * kLanes, whole);
    for (; x < last; ++x, from += shape_.channels) read_pixels<1>(from, to + x * kLanes, whole);
  }

  // Several side by side: then more of the loads that miss the cache are under way at once.
  template <int kCount>
  void read_pixels(const T* from, float* to, int64_t whole) const {
    for (int64_t p = 0; p < whole; ++p) {
      Vector pixels[kCount];
#pragma GCC unroll 4
      for (int i = 0; i < kCount; ++i) pixels[i] = load(from + i * shape_.channels + p * kLanes);
#pragma GCC unroll 4
      for (int i = 0; i < kCount; ++i) store(to + p * pitch_ + i * kLanes, pixels[i]);
    }
    if (whole == planes_) return;
    const int left = int(shape_.channels - channel_ - whole * kLanes);
    for (int i = 0; i < kCount; ++i)
      store(to + whole * pitch_ + i * kLanes, load_first(from + i * shape_.channels + whole * kLanes, left));
  }

  float* data_;
  const T* image_;
  Image shape_;
  int64_t channel_, planes_, first_column_, columns_, pitch_, next_, capacity_;
  const int64_t* order_;
};

// How a kernel's work is cut up: groups of channel vectors x images x strips of rows, enough of them for all threads.
// Where what is kept from image to image (weights, or the sums of their gradients) is large, all images of a group come
// one after the other and it stays in the cache; else the groups of an image do, and the image stays there.
struct Cut {
  static constexpr int64_t kCache = 192 << 10;  // of the second level, for one thread
  int64_t batch, strips, strip_height, groups, group_planes, planes;
  bool images_inside;
  int64_t count() const { return batch * strips * groups; }

  // Of one vector of channels: `row_bytes` that it has at hand, `kept_bytes` from image to image.
  Cut(int64_t batch, int64_t height, int64_t channels, int64_t row_bytes, int64_t kept_bytes, int64_t threads)
      : batch(batch), planes(ceil_divide(channels, kLanes)), images_inside(planes * kept_bytes > kCache) {
    const int64_t bytes_per_plane = row_bytes + (images_inside ? kept_bytes : 0);
    const int64_t line = std::max(1, 16 / kLanes);  // vectors in a cache line of floats
    const int64_t fitting = std::max<int64_t>(line, kCache / std::max<int64_t>(1, bytes_per_plane) / line * line);
    groups = ceil_divide(planes, fitting);
    group_planes = ceil_divide(ceil_divide(planes, groups), line) * line;
    groups = ceil_divide(planes, group_planes);
    strips = std::clamp<int64_t>(ceil_divide(threads * 2, batch * groups), 1, std::max<int64_t>(1, height / 4));
    if (threads == 1) strips = 1;
    strip_height = ceil_divide(height, strips);
    strips = ceil_divide(height, strip_height);
  }

  struct Item {
    int64_t image, first_row, last_row, plane, planes;
  };
  Item item(int64_t index, int64_t height) const {
    const int64_t group = images_inside ? index / (batch * strips) : index % groups;
    const int64_t part = images_inside ? index % (batch * strips) : index / groups, strip = part % strips;
    return {part / strips, strip * strip_height, std::min(height, (strip + 1) * strip_height),
            group * group_planes, std::min(group_planes, planes - group * group_planes)};
  }
};

}  // namespace convscope

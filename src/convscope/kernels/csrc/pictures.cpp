// Pictures of a set, uint8 planes in memory, as a batch of network input: mirrored, moved, normalised by a table of the 256
// levels, blanked, and written channels-last, in one pass.
#include <algorithm>
#include <cstring>

#include "abi.h"
#include "threads.h"

namespace convscope {

// Laid out as `Pictures` in pictures.py.
struct Pictures {
  int64_t count, channels, height, width;
  int64_t padding, reflects, cutout, threads;
};

namespace {

// Where a position in the padded image lies in the image itself, -1 for the black border.
inline int64_t source_of(int64_t position, int64_t size, bool reflects) {
  if (position >= 0 && position < size) return position;
  if (!reflects) return -1;
  return position < 0 ? -position : 2 * (size - 1) - position;
}

template <int kChannels>
void serve(const Pictures& p, const uint8_t* images, const int64_t* index, const uint8_t* flips, const int64_t* corners,
           const int64_t* holes, const float* table, float* values) {
  const int64_t channels = kChannels ? kChannels : p.channels, plane = p.height * p.width;
  share_out(p.count, int(p.threads), [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; ++n) {
      const uint8_t* image = images + index[n] * channels * plane;
      const bool mirrored = flips && flips[n];
      const int64_t down = corners ? corners[2 * n] - p.padding : 0;
      const int64_t across = corners ? corners[2 * n + 1] - p.padding : 0;
      // The columns [first, last) lie in the image; the others in its border.
      const int64_t first = std::max<int64_t>(0, -across), last = std::min(p.width, p.width - across);
      const int64_t step = mirrored ? -1 : 1, start = mirrored ? p.width - 1 - across : across;
      for (int64_t y = 0; y < p.height; ++y) {
        float* to = values + (n * p.height + y) * p.width * channels;
        const int64_t row = source_of(y + down, p.height, p.reflects);
        const auto border = [&](int64_t x) {
          const int64_t column = source_of(x + across, p.width, p.reflects);
          const int64_t from = mirrored ? p.width - 1 - column : column;
          for (int64_t c = 0; c < channels; ++c)
            to[x * channels + c] =
                table[c * 256 + (row < 0 || column < 0 ? 0 : image[c * plane + row * p.width + from])];
        };
        if (row < 0) {
          for (int64_t x = 0; x < p.width; ++x) border(x);
        } else {
          for (int64_t x = 0; x < first; ++x) border(x);
          const uint8_t* from = image + row * p.width + start;
          for (int64_t x = first; x < last; ++x)
            for (int64_t c = 0; c < channels; ++c) to[x * channels + c] = table[c * 256 + from[c * plane + step * x]];
          for (int64_t x = last; x < p.width; ++x) border(x);
        }
        if (holes && y >= holes[2 * n] && y < holes[2 * n] + p.cutout) {
          const int64_t left = std::max<int64_t>(0, holes[2 * n + 1]);
          const int64_t right = std::min(p.width, holes[2 * n + 1] + p.cutout);
          if (left < right) std::memset(to + left * channels, 0, (right - left) * channels * sizeof(float));
        }
      }
    }
  });
}

}  // namespace
}  // namespace convscope

CONVSCOPE_API void convscope_serve_pictures(const convscope::Pictures* p, const uint8_t* images, const int64_t* index,
                                            const uint8_t* flips, const int64_t* corners, const int64_t* holes,
                                            const float* table, float* values) {
  const auto serve = p->channels == 3   ? convscope::serve<3>
                     : p->channels == 1 ? convscope::serve<1>
                                        : convscope::serve<0>;
  serve(*p, images, index, flips, corners, holes, table, values);
}

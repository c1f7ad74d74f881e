// Winograd's minimal filtering of 3x3 convolutions of stride 1 in tiles of 4x4: products of 6x6 points instead of 4x4x3x3,
// between transforms that only add and scale. Points of interpolation: 0, +-1/sqrt(2), +-sqrt(2), infinity; of each pair
// one is the other's inverse, which keeps the rounding errors small.
//
// Source: Lavin & Gray, arXiv:1509.09308; the points after Barabasz et al., arXiv:1803.10986.
#pragma once

#include "rows.h"

namespace convscope {

constexpr int kTile = 4, kPatch = 6, kPoints = kPatch * kPatch;
constexpr int64_t kPad = 16;  // floats between the rows of a matrix, lest a power of two hit one set of the cache
constexpr float kA = 0.70710678118654752f, kB = 1.41421356237309505f;

// Six values along one axis of a patch, `step` apart, become their six combinations in `to`.
template <class V>
inline void transform_input(const V* d, int step, V* to, int to_step) {
  const V d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  const V even_a = d4 - 2.f * d2, odd_a = kA * (d3 - 2.f * d1);
  const V even_b = d4 - .5f * d2, odd_b = kB * (d3 - .5f * d1);
  to[0] = d0 - 2.5f * d2 + d4;
  to[to_step] = even_a + odd_a;
  to[2 * to_step] = even_a - odd_a;
  to[3 * to_step] = even_b + odd_b;
  to[4 * to_step] = even_b - odd_b;
  to[5 * to_step] = d1 - 2.5f * d3 + d5;
}

// A transform along both axes of a square of `from` x `from` vectors to one of `to` x `to`.
template <int kFrom, int kTo, class Transform>
inline void transform_square(const Vector* values, Vector* result, Transform&& along) {
  Vector half[kTo * kFrom];
  for (int x = 0; x < kFrom; ++x) along(values + x, kFrom, half + x, kFrom);
  for (int y = 0; y < kTo; ++y) along(half + y * kFrom, 1, result + y * kTo, 1);
}

// The tiles that cover the outputs of a batch, and how many are worked on together.
struct Tiling {
  int64_t down, across, count, together;

  Tiling(int64_t batch, const Image& out, int64_t channels, int64_t threads)
      : down(ceil_divide(out.height, kTile)), across(ceil_divide(out.width, kTile)), count(batch * down * across) {
    // With many channels the weights are long to read, and should serve many tiles. A multiple of 12.
    together = std::clamp<int64_t>(channels / 8, 24, 96) / 12 * 12;
    // As many blocks for one thread as for another.
    const int64_t blocks = ceil_divide(count, together * threads) * threads;
    together = std::min(together, ceil_divide(ceil_divide(count, blocks), 12) * 12);
  }

  int64_t blocks() const { return ceil_divide(count, together); }

  struct Place {
    int64_t image, row, column;  // of the first output
  };
  Place place(int64_t tile) const {
    return {tile / (down * across), tile / across % down * kTile, tile % across * kTile};
  }
};

// Groups whose channels are worked on together: about 64 channels, so that their points stay in the second-level cache.
inline int64_t groups_together(int64_t groups, int64_t group_in, int64_t group_out) {
  return std::clamp<int64_t>(64 / std::max(group_in, group_out), 1, groups);
}

// Floats by which a loop that touches many places at once calls for its next ones: too many for the processor to guess.
constexpr int64_t kAhead = 48;

// Transforms a square of an image, zeros outside it, a vector of channels at a time, to `kPoints` places `step` apart,
// which `kFar` calls for ahead: where they are more than the second-level cache keeps.
template <int kSize, bool kFar, class Transform>
void read_square(const float* image, const Image& shape, int64_t row, int64_t column, int64_t channel, int64_t last,
                 float* to, int64_t step, Transform&& along) {
  for (; channel < last; channel += kLanes, to += kLanes) {
    const int count = int(std::min<int64_t>(kLanes, shape.channels - channel));
    Vector square[kSize * kSize], points[kPoints];
    for (int y = 0; y < kSize; ++y)
      for (int x = 0; x < kSize; ++x) {
        const int64_t r = row + y, q = column + x;
        const bool inside = r >= 0 && r < shape.height && q >= 0 && q < shape.width;
        square[y * kSize + x] =
            inside ? load_first(image + (r * shape.width + q) * shape.channels + channel, count) : Vector{};
      }
    transform_square<kSize, kPatch>(square, points, along);
    for (int p = 0; p < kPoints; ++p) {
      store(to + p * step, points[p]);
      if (kFar) __builtin_prefetch(to + p * step + kAhead, 1);
    }
  }
}

}  // namespace convscope

// The weight gradient of 3x3 convolutions of stride 1 by Winograd's F(3x3, 4x4): what the forward does to weights happens
// to tiles of the output's gradient, and what it does to outputs happens to the sums over all tiles.
#include "abi.h"
#include "threads.h"
#include "winograd.h"

namespace convscope {
namespace {

// Four gradients along one axis become six.
template <class V>
inline void transform_gradient(const V* d, int step, V* to, int to_step) {
  const V d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
  const V even_a = (d0 + .5f * d2) * (-2 / 3.f), odd_a = (kA * -2 / 3.f) * (d1 + .5f * d3);
  const V even_b = (d0 + 2.f * d2) * (1 / 6.f), odd_b = (kB / 6.f) * (d1 + 2.f * d3);
  to[0] = d0;
  to[to_step] = even_a + odd_a;
  to[2 * to_step] = even_a - odd_a;
  to[3 * to_step] = even_b + odd_b;
  to[4 * to_step] = even_b - odd_b;
  to[5 * to_step] = d3;
}

// Six sums along one axis become three weights.
template <class V>
inline void transform_sums(const V* m, int step, V* to, int to_step) {
  const V sum_a = m[step] + m[2 * step], sum_b = m[3 * step] + m[4 * step];
  to[0] = m[0] + sum_a + sum_b;
  to[to_step] = kA * (m[step] - m[2 * step]) + kB * (m[3 * step] - m[4 * step]);
  to[2 * to_step] = .5f * sum_a + 2.f * sum_b + m[5 * step];
}

// Adds the products of kChannels input channels with kCount vectors of output channels over `tiles` tiles.
template <int kChannels, int kCount, bool kFar>
void add_products(const float* values, int64_t value_step, const float* grads, int64_t grad_step, int64_t tiles,
                  float* sums, int64_t vector_step) {
  if (kFar)
    for (int v = 0; v < kCount; ++v)
      for (int i = 0; i < kChannels * kLanes; i += 16) __builtin_prefetch(sums + v * vector_step + i, 1);
  Vector total[kChannels][kCount] = {};
  for (int64_t t = 0; t < tiles; ++t, values += value_step, grads += grad_step) {
    Vector g[kCount];
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) g[v] = load(grads + v * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kChannels; ++i) {
      const Vector x = broadcast(values[i]);
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) total[i][v] += x * g[v];
    }
  }
  for (int i = 0; i < kChannels; ++i)
    for (int v = 0; v < kCount; ++v) {
      float* to = sums + v * vector_step + i * kLanes;
      store(to, load(to) + total[i][v]);
    }
}

struct Sizes {
  Image in, out;
  int64_t groups, group_in, group_planes, planes, channels;  // `channels`: those of a group, filled up

  explicit Sizes(const Convolution& c)
      : in(input_image(c)), out(output_image(c)), groups(c.groups), group_in(c.in_channels / c.groups),
        planes(ceil_divide(c.out_channels, kLanes)), channels(ceil_divide(group_in, 8) * 8) {
    group_planes = planes / groups;
  }
  // Sums are (points, planes, channels, kLanes), those of two points `point_step` floats apart.
  int64_t point_step() const { return planes * channels * kLanes + kPad; }
  int64_t sums() const { return kPoints * point_step(); }
};

// Adds some blocks of tiles to the sums of the planes [first_plane, last_plane).
template <bool kFar>
void add_blocks(const Convolution& c, const Sizes& s, const Tiling& tiling, int64_t first_block, int64_t last_block,
                int64_t first_plane, int64_t last_plane, const float* input, const float* grad, float* sums) {
  const int64_t first_group = first_plane / s.group_planes, last_group = ceil_divide(last_plane, s.group_planes);
  const int64_t together = tiling.together, first_channel = first_group * s.group_in;
  const int64_t ins = ceil_divide((last_group - first_group) * s.group_in, 8) * 8 + kPad;
  const int64_t outs = (last_plane - first_plane) * kLanes + kPad;
  const Buffer value_buffer(kPoints * together * ins), grad_buffer(kPoints * together * outs);
  float *values = value_buffer.data(), *grads = grad_buffer.data();
  for (int64_t block = first_block; block < last_block; ++block) {
    const int64_t first = block * together, count = std::min(tiling.count, first + together) - first;
    for (int64_t t = 0; t < count; ++t) {
      const auto at = tiling.place(first + t);
      read_square<kPatch, kFar>(input + at.image * s.in.size(), s.in, at.row - c.padding[0], at.column - c.padding[1],
                                first_channel, last_group * s.group_in, values + t * ins, together * ins,
                                transform_input<Vector>);
      read_square<kTile, kFar>(grad + at.image * s.out.size(), s.out, at.row, at.column, first_plane * kLanes,
                               std::min(c.out_channels, last_plane * kLanes), grads + t * outs, together * outs,
                               transform_gradient<Vector>);
    }
    for (int64_t p = 0; p < kPoints; ++p)
      for (int64_t plane = first_plane; plane < last_plane;) {
        const int64_t group = plane / s.group_planes;
        const int64_t left = std::min(last_plane, (group + 1) * s.group_planes) - plane;
        const float* value = values + p * together * ins + (group - first_group) * s.group_in;
        const float* gradient = grads + p * together * outs + (plane - first_plane) * kLanes;
        float* to = sums + p * s.point_step() + plane * s.channels * kLanes;
        const auto take = [&](auto channels, auto vectors) {
          for (int64_t i = 0; i < s.group_in; i += channels())
            add_products<channels(), vectors(), kFar>(value + i, ins, gradient, outs, count, to + i * kLanes,
                                                      s.channels * kLanes);
          plane += vectors();
        };
        if (left >= 3 && left != 4) take(std::integral_constant<int, 4>(), std::integral_constant<int, 3>());
        else if (left >= 2) take(std::integral_constant<int, 4>(), std::integral_constant<int, 2>());
        else take(std::integral_constant<int, 8>(), std::integral_constant<int, 1>());
      }
  }
}

// The same, some groups at a time.
void add_groups(const Convolution& c, const Sizes& s, const Tiling& tiling, int64_t first_block, int64_t last_block,
                int64_t first_plane, int64_t last_plane, const float* input, const float* grad, float* sums) {
  const int64_t step = groups_together(s.groups, s.group_in, c.out_channels / s.groups) * s.group_planes;
  const bool far = s.sums() >= 1 << 20;  // floats: several times the second-level cache
  for (int64_t plane = first_plane; plane < last_plane; plane += step)
    (far ? add_blocks<true> : add_blocks<false>)(c, s, tiling, first_block, last_block, plane,
                                                 std::min(last_plane, plane + step), input, grad, sums);
}

void backward_weight(const Convolution& c, const float* input, const float* grad, float* grad_weight) {
  const Sizes s(c);
  // Few weights: each thread sums over its own tiles. Many: each thread has weights of its own.
  const bool by_tiles = s.sums() * int64_t(sizeof(float)) <= (2 << 20);
  const Tiling tiling(c.batch, s.out, s.group_in + c.out_channels / s.groups, by_tiles ? c.threads : 1);
  const int64_t shares = by_tiles ? std::min(c.threads, tiling.blocks()) : 1;
  const Buffer buffer(s.sums() * shares);
  float* sums = buffer.data();
  std::fill(sums, sums + s.sums() * shares, 0.f);
  if (by_tiles)
    share_out(tiling.blocks(), int(shares), [&](int64_t begin, int64_t end, int share) {
      add_groups(c, s, tiling, begin, end, 0, s.planes, input, grad, sums + share * s.sums());
    });
  else
    share_out(s.planes, int(c.threads), [&](int64_t begin, int64_t end, int) {
      add_groups(c, s, tiling, 0, tiling.blocks(), begin, end, input, grad, sums);
    });
  share_out(s.planes, int(c.threads), [&](int64_t begin, int64_t end, int) {
    for (int64_t plane = begin; plane < end; ++plane)
      for (int64_t i = 0; i < s.group_in; ++i) {
        Vector total[kPoints] = {}, weights[9];
        for (int64_t share = 0; share < shares; ++share)
          for (int p = 0; p < kPoints; ++p)
            total[p] += load(sums + share * s.sums() + p * s.point_step() + (plane * s.channels + i) * kLanes);
        transform_square<kPatch, 3>(total, weights, transform_sums<Vector>);
        for (int64_t lane = 0; lane < std::min<int64_t>(kLanes, c.out_channels - plane * kLanes); ++lane)
          for (int k = 0; k < 9; ++k)
            grad_weight[((plane * kLanes + lane) * s.group_in + i) * 9 + k] = weights[k][lane];
      }
  });
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_winograd_backward_weight(const Convolution* c, const float* input, const float* grad,
                                                      float* grad_weight) {
  backward_weight(*c, input, grad, grad_weight);
}

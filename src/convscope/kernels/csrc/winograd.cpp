// 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3), plain or in groups that fill vectors: output and input
// gradient. 36 matrix products between the patches' transform and the outputs'.
#include "abi.h"
#include "threads.h"
#include "winograd.h"

namespace convscope {
namespace {

// Six sums of products along one axis become four outputs.
template <class V>
inline void transform_output(const V* m, int step, V* to, int to_step) {
  const V sum_a = m[step] + m[2 * step], difference_a = kA * (m[step] - m[2 * step]);
  const V sum_b = m[3 * step] + m[4 * step], difference_b = kB * (m[3 * step] - m[4 * step]);
  to[0] = m[0] + sum_a + sum_b;
  to[to_step] = difference_a + difference_b;
  to[2 * to_step] = .5f * sum_a + 2.f * sum_b;
  to[3 * to_step] = .5f * difference_a + 2.f * difference_b + m[5 * step];
}

// Three weights along one axis become six.
template <class V>
inline void transform_weights(const V* g, int step, V* to, int to_step) {
  const V even_a = (g[0] + .5f * g[2 * step]) * (-2 / 3.f), odd_a = (kA * -2 / 3.f) * g[step];
  const V even_b = (g[0] + 2.f * g[2 * step]) * (1 / 6.f), odd_b = (kB / 6.f) * g[step];
  to[0] = g[0];
  to[to_step] = even_a + odd_a;
  to[2 * to_step] = even_a - odd_a;
  to[3 * to_step] = even_b + odd_b;
  to[4 * to_step] = even_b - odd_b;
  to[5 * to_step] = g[2 * step];
}

// The convolution of `in` that makes `out`: of the network, or of gradients on their way back.
struct Way {
  Image in, out;
  int64_t padding[2], groups;
  bool back;
  int64_t group_in() const { return in.channels / groups; }
  int64_t group_out() const { return out.channels / groups; }

  // Weights of output channel o and the i-th input channel of its group.
  const float* weights(const float* weight, int64_t o, int64_t i) const {
    if (!back) return weight + (o * group_in() + i) * 9;
    return weight + ((o / group_out() * group_in() + i) * group_out() + o % group_out()) * 9;
  }
};

// Floats between the weights of two points, no power of two: they are written for all points at once.
inline int64_t point_step(int64_t planes, int64_t ins) { return planes * ins * kLanes + kPad; }

// (points, vectors of output channels, input channels of a group, kLanes): what products read, one after the other.
Buffer transformed_weights(const Convolution& c, const Way& way, const float* weight) {
  const int64_t ins = way.group_in(), outs = way.out.channels, planes = ceil_divide(outs, kLanes);
  const int64_t step = point_step(planes, ins);
  Buffer made(kPoints * step);
  float* result = made.data();
  share_out(planes, int(c.threads), [&](int64_t begin, int64_t end, int) {
    for (int64_t plane = begin; plane < end; ++plane)
      for (int64_t i = 0; i < ins; ++i) {
        float lanes[9][kLanes] = {};
        for (int64_t lane = 0; lane < std::min<int64_t>(kLanes, outs - plane * kLanes); ++lane) {
          const int64_t o = plane * kLanes + lane;
          const float* from = way.weights(weight, o, i);
          for (int k = 0; k < 9; ++k) lanes[k][lane] = from[way.back ? 8 - k : k];
        }
        Vector g[9], points[kPoints];
        for (int k = 0; k < 9; ++k) g[k] = load(lanes[k]);
        transform_square<3, kPatch>(g, points, transform_weights<Vector>);
        for (int p = 0; p < kPoints; ++p) store(result + p * step + (plane * ins + i) * kLanes, points[p]);
      }
  });
  return made;
}

// Products of kTiles tiles, `tile_step` floats apart, with kCount vectors of output channels.
template <int kTiles, int kCount>
void multiply(const float* tiles, int64_t tile_step, const float* weights, int64_t vector_step, int64_t channels,
              float* products, int64_t product_step) {
  Vector sums[kTiles][kCount] = {};
  for (int64_t i = 0; i < channels; ++i) {
    Vector w[kCount];
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) w[v] = load(weights + v * vector_step + i * kLanes);
#pragma GCC unroll 12
    for (int t = 0; t < kTiles; ++t) {
      const Vector x = broadcast(tiles[t * tile_step + i]);
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) sums[t][v] += x * w[v];
    }
  }
  for (int t = 0; t < kTiles; ++t)
    for (int v = 0; v < kCount; ++v) store(products + t * product_step + v * kLanes, sums[t][v]);
}

class Tiles {
 public:
  Tiles(const Way& way, const Tiling& tiling, const float* input, const float* weights, const float* bias,
        float* output)
      : way_(way), tiling_(tiling), input_(input), weights_(weights), bias_(bias), output_(output),
        planes_(ceil_divide(way.out.channels, kLanes)),
        groups_(groups_together(way.groups, way.group_in(), way.group_out())),
        ins_(ceil_divide(groups_ * way.group_in(), kLanes) * kLanes + kPad),
        outs_(groups_ * (planes_ / way.groups) * kLanes + kPad) {}

  void run(int64_t first_block, int64_t last_block) const {
    const Buffer values(kPoints * tiling_.together * ins_), products(kPoints * tiling_.together * outs_);
    for (int64_t block = first_block; block < last_block; ++block)
      for (int64_t g = 0; g < way_.groups; g += groups_)
        run(block, g, std::min(way_.groups, g + groups_), values.data(), products.data());
  }

 private:
  void run(int64_t block, int64_t first_group, int64_t last_group, float* values, float* products) const {
    const int64_t together = tiling_.together, group_planes = planes_ / way_.groups, channels = way_.group_in();
    const int64_t first = block * together, last = std::min(tiling_.count, first + together);
    for (int64_t t = 0; t < last - first; ++t) {
      const auto at = tiling_.place(first + t);
      read_square<kPatch, true>(input_ + at.image * way_.in.size(), way_.in, at.row - way_.padding[0],
                                at.column - way_.padding[1], first_group * channels, last_group * channels,
                                values + t * ins_, together * ins_, transform_input<Vector>);
    }
    for (int64_t p = 0; p < kPoints; ++p)
      for (int64_t g = first_group; g < last_group; ++g)
        for (int64_t v = 0; v < group_planes;) {
          const int64_t plane = g * group_planes + v;
          const float* weights = weights_ + p * point_step(planes_, channels) + plane * channels * kLanes;
          const float* tiles = values + p * together * ins_ + (g - first_group) * channels;
          float* to = products + p * together * outs_ + (plane - first_group * group_planes) * kLanes;
          const auto take = [&](auto size, auto vectors) {
            for (int64_t t = 0; t < last - first; t += size())
              multiply<size(), vectors()>(tiles + t * ins_, ins_, weights, channels * kLanes, channels, to + t * outs_,
                                          outs_);
            v += vectors();
          };
          // Twelve sums at a time: what hides an addition's latency in 16 registers.
          const int64_t left = group_planes - v;
          if (left >= 3 && left != 4) take(std::integral_constant<int, 4>(), std::integral_constant<int, 3>());
          else if (left >= 2) take(std::integral_constant<int, 6>(), std::integral_constant<int, 2>());
          else take(std::integral_constant<int, 12>(), std::integral_constant<int, 1>());
        }
    const int64_t channel = first_group * group_planes * kLanes;
    const int64_t end = std::min(way_.out.channels, last_group * group_planes * kLanes);
    for (int64_t t = 0; t < last - first; ++t) write(tiling_.place(first + t), channel, end, products + t * outs_);
  }

  void write(const Tiling::Place& at, int64_t channel, int64_t end, const float* from) const {
    const int64_t rows = std::min<int64_t>(kTile, way_.out.height - at.row);
    const int64_t columns = std::min<int64_t>(kTile, way_.out.width - at.column);
    float* corner = output_ + ((at.image * way_.out.height + at.row) * way_.out.width + at.column) * way_.out.channels;
    for (; channel < end; channel += kLanes, from += kLanes) {
      const int count = int(std::min<int64_t>(kLanes, way_.out.channels - channel));
      const Vector start = bias_ ? load_first(bias_ + channel, count) : Vector{};
      Vector sums[kPoints], made[kTile * kTile];
      for (int p = 0; p < kPoints; ++p) {
        const float* sum = from + p * tiling_.together * outs_;
        sums[p] = load(sum);
        __builtin_prefetch(sum + kAhead);
      }
      const auto place = [&](int64_t y, int64_t x) {
        return corner + (y * way_.out.width + x) * way_.out.channels + channel;
      };
      for (int64_t y = 0; y < rows; ++y)
        for (int64_t x = 0; x < columns; ++x) __builtin_prefetch(place(y, x), 1);
      transform_square<kPatch, kTile>(sums, made, transform_output<Vector>);
      for (int64_t y = 0; y < rows; ++y)
        for (int64_t x = 0; x < columns; ++x) store_first(place(y, x), made[y * kTile + x] + start, count);
    }
  }

  Way way_;
  Tiling tiling_;
  const float *input_, *weights_, *bias_;
  float* output_;
  int64_t planes_, groups_, ins_, outs_;
};

void run(const Convolution& c, const Way& way, const float* input, const float* weight, const float* bias,
         float* output) {
  const Buffer weights = transformed_weights(c, way, weight);
  const Tiling tiling(c.batch, way.out, way.group_in() + way.group_out(), c.threads);
  const Tiles tiles(way, tiling, input, weights.data(), bias, output);
  share_out(tiling.blocks(), int(c.threads), [&](int64_t begin, int64_t end, int) { tiles.run(begin, end); });
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_winograd_forward(const Convolution* c, const float* input, const float* weight,
                                              const float* bias, float* output) {
  run(*c, {input_image(*c), output_image(*c), {c->padding[0], c->padding[1]}, c->groups, false}, input, weight, bias, output);
}

CONVSCOPE_API void convscope_winograd_backward_input(const Convolution* c, const float* grad, const float* weight,
                                                     float* grad_input) {
  const Way way{output_image(*c), input_image(*c), {2 - c->padding[0], 2 - c->padding[1]}, c->groups, true};
  run(*c, way, grad, weight, nullptr, grad_input);
}

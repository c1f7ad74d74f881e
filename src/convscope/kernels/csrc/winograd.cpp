// 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3): a tile of 4x4 outputs takes 36 products a
// pair of channels instead of 144, as 36 matrix products between two transforms of additions. Output and input gradient.
//
// Source: Lavin & Gray, arXiv:1509.09308. Points of interpolation 0, +-1/sqrt(2), +-sqrt(2), infinity: of each pair one
// is the other's inverse, which keeps the rounding errors small (Barabasz et al., arXiv:1803.10986).
#include "abi.h"
#include "rows.h"
#include "threads.h"

namespace convscope {
namespace {

constexpr int kTile = 4, kPatch = 6, kPoints = kPatch * kPatch;
constexpr int kTogether = 4;  // tiles in registers, times kVectors vectors of output channels
constexpr int kVectors = 3;
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
  int64_t padding[2];
  bool back;
};

// (points, vectors of output channels, input channels, kLanes): what a tile's products read, one after the other.
const float* transformed_weights(const Convolution& c, const Way& way, const float* weight) {
  const int64_t ins = way.in.channels, outs = way.out.channels, planes = ceil_divide(outs, kLanes);
  float* result = scratch<2>(kPoints * planes * ins * kLanes);
  share_out(planes, int(c.threads), [&](int64_t begin, int64_t end, int) {
    for (int64_t plane = begin; plane < end; ++plane)
      for (int64_t i = 0; i < ins; ++i) {
        float lanes[9][kLanes] = {};
        for (int64_t lane = 0; lane < std::min<int64_t>(kLanes, outs - plane * kLanes); ++lane) {
          const int64_t o = plane * kLanes + lane;
          const float* from = weight + (way.back ? i * outs + o : o * ins + i) * 9;
          for (int k = 0; k < 9; ++k) lanes[k][lane] = from[way.back ? 8 - k : k];
        }
        Vector g[9], rows[18], points[kPoints];
        for (int k = 0; k < 9; ++k) g[k] = load(lanes[k]);
        for (int x = 0; x < 3; ++x) transform_weights(g + x, 3, rows + x, 3);
        for (int y = 0; y < kPatch; ++y) transform_weights(rows + y * 3, 1, points + y * kPatch, 1);
        for (int p = 0; p < kPoints; ++p) store(result + ((p * planes + plane) * ins + i) * kLanes, points[p]);
      }
  });
  return result;
}

// Products of kTogether tiles, `tile_step` floats apart, with kCount vectors of output channels.
template <int kCount>
void multiply(const float* tiles, int64_t tile_step, const float* weights, int64_t vector_step, int64_t channels,
              float* products, int64_t product_step) {
  Vector sums[kTogether][kCount] = {};
  for (int64_t i = 0; i < channels; ++i) {
    Vector w[kCount];
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) w[v] = load(weights + v * vector_step + i * kLanes);
#pragma GCC unroll 4
    for (int t = 0; t < kTogether; ++t) {
      const Vector x = broadcast(tiles[t * tile_step + i]);
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) sums[t][v] += x * w[v];
    }
  }
  for (int t = 0; t < kTogether; ++t)
    for (int v = 0; v < kCount; ++v) store(products + t * product_step + v * kLanes, sums[t][v]);
}

struct Place {
  int64_t image, row, column;  // of a tile's first output
};

class Tiles {
 public:
  Tiles(const Convolution& c, const Way& way, const float* input, const float* weights, const float* bias,
        float* output)
      : way_(way), input_(input), weights_(weights), bias_(bias), output_(output),
        down_(ceil_divide(way.out.height, kTile)), across_(ceil_divide(way.out.width, kTile)),
        count_(c.batch * down_ * across_), ins_(ceil_divide(way.in.channels, kLanes) * kLanes),
        planes_(ceil_divide(way.out.channels, kLanes)) {
    // Many channels: their weights are long to read, and should serve many tiles.
    together_ = std::clamp<int64_t>((way.in.channels + way.out.channels) / 8, 24, 96) / kTogether * kTogether;
  }

  int64_t blocks() const { return ceil_divide(count_, together_); }

  void run(int64_t block) const {
    float* values = scratch<0>(kPoints * together_ * ins_);
    float* products = scratch<1>(kPoints * together_ * planes_ * kLanes);
    const int64_t first = block * together_, last = std::min(count_, first + together_);
    const int64_t rounded = ceil_divide(last - first, kTogether) * kTogether;
    for (int64_t t = 0; t < last - first; ++t) read(place(first + t), values + t * ins_);
    const int64_t vector_step = way_.in.channels * kLanes, outs = planes_ * kLanes;
    for (int64_t p = 0; p < kPoints; ++p) {
      const float* tiles = values + p * together_ * ins_;
      for (int64_t v = 0; v < planes_;) {
        const float* weights = weights_ + (p * planes_ + v) * vector_step;
        const auto take = [&](auto vectors) {
          for (int64_t t = 0; t < rounded; t += kTogether)
            multiply<vectors()>(tiles + t * ins_, ins_, weights, vector_step, way_.in.channels,
                                products + (p * together_ + t) * outs + v * kLanes, outs);
          v += vectors();
        };
        const int64_t left = planes_ - v;
        if (left >= kVectors && left != 4) take(std::integral_constant<int, kVectors>());
        else if (left >= 2) take(std::integral_constant<int, 2>());
        else take(std::integral_constant<int, 1>());
      }
    }
    for (int64_t t = 0; t < last - first; ++t) write(place(first + t), products + t * outs);
  }

 private:
  Place place(int64_t tile) const {
    return {tile / (down_ * across_), tile / across_ % down_ * kTile, tile % across_ * kTile};
  }

  // A tile's patch of the input, transformed, to `kPoints` places `together_ * ins_` floats apart.
  void read(const Place& at, float* to) const {
    const int64_t row = at.row - way_.padding[0], column = at.column - way_.padding[1];
    const float* image = input_ + at.image * way_.in.size();
    for (int64_t channel = 0; channel < ins_; channel += kLanes) {
      const int count = int(std::min<int64_t>(kLanes, way_.in.channels - channel));
      Vector patch[kPoints], half[kPoints];
      for (int y = 0; y < kPatch; ++y)
        for (int x = 0; x < kPatch; ++x) {
          const int64_t r = row + y, q = column + x;
          const bool inside = r >= 0 && r < way_.in.height && q >= 0 && q < way_.in.width;
          patch[y * kPatch + x] =
              inside ? load_first(image + (r * way_.in.width + q) * way_.in.channels + channel, count) : Vector{};
        }
      for (int x = 0; x < kPatch; ++x) transform_input(patch + x, kPatch, half + x, kPatch);
      for (int y = 0; y < kPatch; ++y) transform_input(half + y * kPatch, 1, patch + y * kPatch, 1);
      for (int p = 0; p < kPoints; ++p) store(to + p * together_ * ins_ + channel, patch[p]);
    }
  }

  void write(const Place& at, const float* from) const {
    const int64_t rows = std::min<int64_t>(kTile, way_.out.height - at.row);
    const int64_t columns = std::min<int64_t>(kTile, way_.out.width - at.column);
    for (int64_t v = 0; v < planes_; ++v) {
      const int64_t channel = v * kLanes;
      const int count = int(std::min<int64_t>(kLanes, way_.out.channels - channel));
      const Vector start = bias_ ? load_first(bias_ + channel, count) : Vector{};
      Vector sums[kPoints], half[kTile * kPatch], made[kTile * kTile];
      for (int p = 0; p < kPoints; ++p) sums[p] = load(from + p * together_ * planes_ * kLanes + channel);
      for (int x = 0; x < kPatch; ++x) transform_output(sums + x, kPatch, half + x, kPatch);
      for (int y = 0; y < kTile; ++y) transform_output(half + y * kPatch, 1, made + y * kTile, 1);
      for (int64_t y = 0; y < rows; ++y)
        for (int64_t x = 0; x < columns; ++x)
          store_first(output_ + ((at.image * way_.out.height + at.row + y) * way_.out.width + at.column + x) *
                                    way_.out.channels + channel,
                      made[y * kTile + x] + start, count);
    }
  }

  Way way_;
  const float *input_, *weights_, *bias_;
  float* output_;
  int64_t down_, across_, count_, ins_, planes_, together_;
};

void run(const Convolution& c, const Way& way, const float* input, const float* weight, const float* bias,
         float* output) {
  const float* weights = transformed_weights(c, way, weight);
  const Tiles tiles(c, way, input, weights, bias, output);
  share_out(tiles.blocks(), int(c.threads), [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; ++block) tiles.run(block);
  });
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_winograd_forward(const Convolution* c, const float* input, const float* weight,
                                              const float* bias, float* output) {
  run(*c, {input_image(*c), output_image(*c), {c->padding[0], c->padding[1]}, false}, input, weight, bias, output);
}

CONVSCOPE_API void convscope_winograd_backward_input(const Convolution* c, const float* grad, const float* weight,
                                                     float* grad_input) {
  const Way way{output_image(*c), input_image(*c), {2 - c->padding[0], 2 - c->padding[1]}, true};
  run(*c, way, grad, weight, nullptr, grad_input);
}

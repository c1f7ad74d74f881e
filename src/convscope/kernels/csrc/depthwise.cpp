// Depthwise convolution: every channel has a filter of its own. Output and both gradients, any window.
// The weight gradient keeps the sums of a row of taps.
#include "abi.h"
#include "correlate.h"
#include "weight_gradient.h"

namespace convscope {
namespace {

// Adds to sums of (kRows, kColumns) taps, from tap row `top` and `shift` floats on, the products of some rows of gradients
// with the pixels under each tap.
template <int kRows, int kColumns>
void add_products(const Meeting& m, int64_t top, int64_t shift, int64_t spacing, int64_t step, float* sums) {
  constexpr int kSets = kRows * kColumns < 8 ? 2 : 1;  // sums enough to hide an addition's latency
  Vector total[kSets][kRows][kColumns] = {};
  for (int64_t r = 0; r < m.rows; ++r) {
    const float* grad = m.grads[r];
    const float* pixels[kRows];
    for (int y = 0; y < kRows; ++y) pixels[y] = m.pixels[(top + y) * m.rows + r] + shift;
    const auto add = [&](int set, int64_t i) {
      const Vector g = load(grad + i * kLanes);
#pragma GCC unroll 4
      for (int y = 0; y < kRows; ++y)
#pragma GCC unroll 8
        for (int x = 0; x < kColumns; ++x) total[set][y][x] += g * load(pixels[y] + i * step + x * spacing);
    };
    int64_t i = 0;
    for (; i + kSets <= m.width; i += kSets)
#pragma GCC unroll 2
      for (int set = 0; set < kSets; ++set) add(set, i + set);
    for (; i < m.width; ++i) add(0, i);
  }
  for (int y = 0; y < kRows; ++y)
    for (int x = 0; x < kColumns; ++x) {
      float* to = sums + (y * kColumns + x) * kLanes;
      Vector sum = total[0][y][x];
      if constexpr (kSets == 2) sum += total[1][y][x];
      store(to, load(to) + sum);
    }
}

// All taps of one vector of channels for some rows of gradients.
void add_meeting(const Convolution& c, const Meeting& m) {
  const int64_t spacing = c.dilation[1] * kLanes, step = c.stride[1] * kLanes;
  if (c.kernel[0] == 3 && c.kernel[1] == 3) return add_products<3, 3>(m, 0, 0, spacing, step, m.sums);
  float* sums = m.sums;
  for (int64_t y = 0; y < c.kernel[0]; ++y)
    for (int64_t x = 0; x < c.kernel[1];) {
      const auto take = [&](auto size) {
        add_products<1, decltype(size)::value>(m, y, x * spacing, spacing, step, sums);
        sums += decltype(size)::value * kLanes;
        x += decltype(size)::value;
      };
      const int64_t left = c.kernel[1] - x;
      if (left == 7) take(std::integral_constant<int, 7>());
      else if (left == 5) take(std::integral_constant<int, 5>());
      else if (left >= 4) take(std::integral_constant<int, 4>());
      else if (left == 3) take(std::integral_constant<int, 3>());
      else take(std::integral_constant<int, 1>());
    }
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_depthwise_forward(const Convolution* c, int type, const void* input, const void* weight,
                                               const void* bias, void* output) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    correlate<1>(*c, Way::forward(*c), static_cast<const T*>(input), static_cast<const T*>(weight),
                 static_cast<const T*>(bias), static_cast<T*>(output));
  });
}

CONVSCOPE_API void convscope_depthwise_backward_input(const Convolution* c, int type, const void* grad,
                                                      const void* weight, void* grad_input) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    correlate<1>(*c, Way::back(*c), static_cast<const T*>(grad), static_cast<const T*>(weight),
                 static_cast<const T*>(nullptr), static_cast<T*>(grad_input));
  });
}

CONVSCOPE_API void convscope_depthwise_backward_weight(const Convolution* c, int type, const void* input,
                                                       const void* grad, void* grad_weight) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    weight_gradient(*c, 1, ceil_divide(64, c->out_width), static_cast<const T*>(input), static_cast<const T*>(grad),
                    static_cast<T*>(grad_weight), [&](const Meeting& m) { add_meeting(*c, m); });
  });
}

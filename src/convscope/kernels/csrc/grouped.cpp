// Grouped convolution with a few channels a group: output and both gradients, any window.
// The weight gradient keeps in registers the sums of some input channels and taps of a row.
#include "abi.h"
#include "correlate.h"
#include "weight_gradient.h"

namespace convscope {
namespace {

// Adds to the sums of some loads and kColumns taps the products of gradients with the pixels under each tap, `shift`
// floats into their rows. Pixels of one load lie `load_step` pointers from those of the next, sums `sum_step` floats.
template <int kSpread, int kLoads, int kColumns>
void add_products(const Meeting& m, const float* const* pixels, int64_t load_step, int64_t shift, int64_t spacing,
                  int64_t step, float* sums, int64_t sum_step) {
  constexpr int kChannels = kLoads * kHeld<kSpread>;
  Vector total[kChannels][kColumns] = {};
  for (int64_t r = 0; r < m.rows; ++r) {
    const float* rows[kLoads];
    for (int i = 0; i < kLoads; ++i) rows[i] = pixels[i * load_step + r] + shift;
    const float* grad = m.grads[r];
    for (int64_t x = 0; x < m.width; ++x, grad += kLanes) {
      const Vector g = load(grad);
      each<kChannels>([&](auto channel) __attribute__((always_inline)) {
        constexpr int kLoad = channel() / kHeld<kSpread>, kChannel = channel() % kHeld<kSpread>;
#pragma GCC unroll 4
        for (int k = 0; k < kColumns; ++k)
          total[channel()][k] += g * fetch<kSpread, kChannel>(rows[kLoad] + x * step + k * spacing);
      });
    }
  }
  for (int i = 0; i < kChannels; ++i)
    for (int k = 0; k < kColumns; ++k) {
      float* to = sums + i * sum_step + k * kLanes;
      store(to, load(to) + total[i][k]);
    }
}

template <int kSpread>
void add_meeting(const Convolution& c, const Meeting& m) {
  const int64_t spacing = c.dilation[1] * kLanes, step = c.stride[1] * kLanes;
  const int64_t load_step = c.kernel[0] * m.rows, sum_step = c.kernel[0] * c.kernel[1] * kLanes;
  const int64_t loads = c.in_channels / c.groups / kHeld<kSpread>;
  for (int64_t i = 0; i < loads;) {
    const auto take = [&](auto count) {
      for (int64_t y = 0; y < c.kernel[0]; ++y) {
        const float* const* pixels = m.pixels + i * load_step + y * m.rows;
        for (int64_t x = 0; x < c.kernel[1];) {
          const auto columns = [&](auto size) {
            float* sums = m.sums + i * kHeld<kSpread> * sum_step + (y * c.kernel[1] + x) * kLanes;
            add_products<kSpread, count(), size()>(m, pixels, load_step, x * spacing, spacing, step, sums, sum_step);
            x += size();
          };
          if (c.kernel[1] - x >= 3) columns(std::integral_constant<int, 3>());
          else columns(std::integral_constant<int, 1>());
        }
      }
      i += count();
    };
    if (loads - i >= 4) take(std::integral_constant<int, kHeld<kSpread> == 1 ? 4 : 1>());
    else take(std::integral_constant<int, 1>());
  }
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_grouped_forward(const Convolution* c, int type, const void* input, const void* weight,
                                             const void* bias, void* output) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    const Way way = Way::forward(*c);
    with_spread(way.channels.spread, [&](auto spread) {
      correlate<spread()>(*c, way, static_cast<const T*>(input), static_cast<const T*>(weight),
                          static_cast<const T*>(bias), static_cast<T*>(output));
    });
  });
}

CONVSCOPE_API void convscope_grouped_backward_input(const Convolution* c, int type, const void* grad,
                                                    const void* weight, void* grad_input) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    const Way way = Way::back(*c);
    with_spread(way.channels.spread, [&](auto spread) {
      correlate<spread()>(*c, way, static_cast<const T*>(grad), static_cast<const T*>(weight),
                          static_cast<const T*>(nullptr), static_cast<T*>(grad_input));
    });
  });
}

CONVSCOPE_API void convscope_grouped_backward_weight(const Convolution* c, int type, const void* input,
                                                     const void* grad, void* grad_weight) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    const int spread = Channels(c->in_channels / c->groups, c->out_channels / c->groups, c->out_channels).spread;
    with_spread(spread, [&](auto constant) {
      weight_gradient(*c, 1, ceil_divide(64, c->out_width), static_cast<const T*>(input), static_cast<const T*>(grad),
                      static_cast<T*>(grad_weight), [&](const Meeting& m) { add_meeting<constant()>(*c, m); });
    });
  });
}

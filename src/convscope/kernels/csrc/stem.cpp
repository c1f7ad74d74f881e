// The weight gradient of a network's first layer: a dense convolution of images with up to four channels, any window.
// The sums of some taps and input channels by two vectors of output channels are kept in registers over some rows.
#include "abi.h"
#include "weight_gradient.h"

namespace convscope {
namespace {

constexpr int kMostEntries = 6;  // with two vectors each, as many registers as AVX2 has

// Adds to the sums of kEntries places of a row of the window, `offsets` floats from its first pixel.
template <int kEntries, int kVectors>
void add_products(const Meeting& m, const float* const* pixels, const int64_t* offsets, int64_t step,
                  const int64_t* places, float* sums, int64_t plane_sums) {
  Vector total[kEntries][kVectors] = {};
  for (int64_t r = 0; r < m.rows; ++r) {
    const float* entries[kEntries];
    for (int e = 0; e < kEntries; ++e) entries[e] = pixels[r] + offsets[e];
    for (int64_t x = 0; x < m.width; ++x) {
      Vector grad[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) grad[v] = load(m.grads[v * m.rows + r] + x * kLanes);
#pragma GCC unroll 8
      for (int e = 0; e < kEntries; ++e) {
        const Vector pixel = broadcast(entries[e][x * step]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) total[e][v] += pixel * grad[v];
      }
    }
  }
  for (int e = 0; e < kEntries; ++e)
    for (int v = 0; v < kVectors; ++v) {
      float* to = sums + v * plane_sums + places[e];
      store(to, load(to) + total[e][v]);
    }
}

// A row of the window as places in a row of pixels and in the sums: taps x input channels.
struct WindowRow {
  std::vector<int64_t> offsets, places;

  explicit WindowRow(const Convolution& c) {
    for (int64_t x = 0; x < c.kernel[1]; ++x)
      for (int64_t i = 0; i < c.in_channels; ++i) {
        offsets.push_back(x * c.dilation[1] * kLanes + i);
        places.push_back((i * c.kernel[0] * c.kernel[1] + x) * kLanes);
      }
  }
};

template <int kVectors>
void add_meeting(const Convolution& c, const WindowRow& window, const Meeting& m) {
  const int64_t step = c.stride[1] * kLanes, entries = window.offsets.size();
  const int64_t plane_sums = c.kernel[0] * entries * kLanes, parts = ceil_divide(entries, kMostEntries);
  for (int64_t y = 0; y < c.kernel[0]; ++y) {
    const float* const* pixels = m.pixels + y * m.rows;
    float* sums = m.sums + y * c.kernel[1] * kLanes;
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t first = entries * part / parts, count = entries * (part + 1) / parts - first;
      each<kMostEntries>([&](auto index) {
        if (index() + 1 == count)
          add_products<index() + 1, kVectors>(m, pixels, &window.offsets[first], step, &window.places[first], sums,
                                              plane_sums);
      });
    }
  }
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_stem_backward_weight(const Convolution* c, int type, const void* input, const void* grad,
                                                  void* grad_weight) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    const WindowRow window(*c);
    weight_gradient(*c, 2, ceil_divide(32, c->out_width), static_cast<const T*>(input), static_cast<const T*>(grad),
                    static_cast<T*>(grad_weight), [&](const Meeting& m) {
                      if (m.planes == 2) add_meeting<2>(*c, window, m);
                      else add_meeting<1>(*c, window, m);
                    });
  });
}

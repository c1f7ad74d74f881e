// The weight gradient of an ordinary convolution, which PyTorch leaves at half the speed of its forward: for each tap a
// product of matrices, pixels being what is summed over. In registers: some input channels (scalars) x some vectors of
// output channels. Threads share out the weights, so that every sum is one thread's and its order is always the same.
#include "abi.h"
#include "rows.h"
#include "threads.h"

namespace convscope {
namespace {

constexpr int kScalars = kLanes == 16 ? 8 : 4;  // input channels at once: 12 sums in 16 registers, or 24 in 32
constexpr int kVectors = 3;
constexpr int64_t kPixels = 256;  // summed in registers before a sum goes back to memory

// Rows of gradients and, for one row of taps, the rows of pixels that they meet.
struct Meeting {
  const float* const* grads;
  const float* const* pixels;
  int64_t rows, width, grad_pitch, step;
};

template <int kCount>
void add_products(const Meeting& m, int64_t grad_shift, int64_t pixel_shift, float* sums, int64_t sum_step) {
  Vector total[kScalars][kCount] = {};
  for (int64_t r = 0; r < m.rows; ++r) {
    const float* grad = m.grads[r] + grad_shift;
    const float* pixel = m.pixels[r] + pixel_shift;
    for (int64_t i = 0; i < m.width; ++i, grad += kLanes, pixel += m.step) {
      Vector g[kCount];
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) g[v] = load(grad + v * m.grad_pitch);
#pragma GCC unroll 8
      for (int s = 0; s < kScalars; ++s) {
        const Vector x = broadcast(pixel[s]);
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) total[s][v] += x * g[v];
      }
    }
  }
  for (int s = 0; s < kScalars; ++s)
    for (int v = 0; v < kCount; ++v) {
      float* to = sums + s * sum_step + v * kLanes;
      store(to, load(to) + total[s][v]);
    }
}

// A share of the weights: planes of input and of output channels.
struct Share {
  int64_t in_plane, in_planes, out_plane, out_planes;
};

// Sums are (input channels, K_h, K_w, output channels), channels filled up to whole vectors.
template <class T>
void add_images(const Convolution& c, const Share& share, const T* input, const T* grad, float* sums) {
  const Image in = input_image(c), out = output_image(c);
  const int64_t out_size = ceil_divide(c.out_channels, kLanes) * kLanes, taps = c.kernel[0] * c.kernel[1];
  const int64_t height = std::min(c.out_height, ceil_divide(kPixels, c.out_width));
  const int64_t span = (c.kernel[0] - 1) * c.dilation[0] + 1, capacity = (height - 1) * c.stride[0] + span;
  const int64_t columns = (c.out_width - 1) * c.stride[1] + (c.kernel[1] - 1) * c.dilation[1] + 1;
  const int64_t pitch = Rows<T>::pitch(columns), grad_pitch = Rows<T>::pitch(c.out_width);
  // Small maps are taken some images at a time.
  const int64_t images = std::clamp<int64_t>(kPixels / (c.out_height * c.out_width), 1, c.batch);
  const int64_t size = Rows<T>::size(share.in_planes, columns, capacity);
  const int64_t grad_size = Rows<T>::size(share.out_planes, c.out_width, height);
  float* data = scratch<0>(images * size);
  float* grad_data = scratch<1>(images * grad_size);
  std::vector<const float*> grads(images * height), pixels(images * height);
  for (int64_t n = 0; n < c.batch; n += images) {
    const int64_t together = std::min(images, c.batch - n);
    std::vector<Rows<T>> rows, grad_rows;
    for (int64_t k = 0; k < together; ++k) {
      rows.emplace_back(data + k * size, input + (n + k) * in.size(), in, share.in_plane * kLanes, share.in_planes,
                        -c.padding[1], columns, -c.padding[0], capacity);
      grad_rows.emplace_back(grad_data + k * grad_size, grad + (n + k) * out.size(), out, share.out_plane * kLanes,
                             share.out_planes, 0, c.out_width, 0, height);
    }
    for (int64_t first = 0; first < c.out_height; first += height) {
      const int64_t count = std::min(height, c.out_height - first);
      const int64_t top = first * c.stride[0] - c.padding[0];
      for (int64_t k = 0; k < together; ++k) {
        rows[k].read_until(top + (count - 1) * c.stride[0] + span);
        grad_rows[k].read_until(first + count);
        for (int64_t r = 0; r < count; ++r) grads[k * count + r] = grad_rows[k].row(first + r);
      }
      const Meeting m{grads.data(), pixels.data(), together * count, c.out_width, grad_pitch, c.stride[1] * kLanes};
      for (int64_t y = 0; y < c.kernel[0]; ++y) {
        for (int64_t k = 0; k < together; ++k)
          for (int64_t r = 0; r < count; ++r)
            pixels[k * count + r] = rows[k].row(top + r * c.stride[0] + y * c.dilation[0]);
        for (int64_t i = 0; i < share.in_planes; ++i)
          for (int64_t o = 0; o < share.out_planes;) {
            const auto take = [&](auto vectors) {
              for (int64_t x = 0; x < c.kernel[1]; ++x)
                for (int64_t s = 0; s < kLanes; s += kScalars) {
                  const int64_t channel = (share.in_plane + i) * kLanes + s;
                  if (channel >= c.in_channels) break;
                  float* to = sums + ((channel * c.kernel[0] + y) * c.kernel[1] + x) * out_size +
                              (share.out_plane + o) * kLanes;
                  add_products<vectors()>(m, o * grad_pitch, i * pitch + x * c.dilation[1] * kLanes + s, to,
                                          taps * out_size);
                }
              o += vectors();
            };
            const int64_t left = share.out_planes - o;
            if (left >= 3 && left != 4) take(std::integral_constant<int, kVectors>());
            else if (left >= 2) take(std::integral_constant<int, 2>());
            else take(std::integral_constant<int, 1>());
          }
      }
    }
  }
}

template <class T>
void backward_weight(const Convolution& c, const T* input, const T* grad, T* grad_weight) {
  const int64_t in_planes = ceil_divide(c.in_channels, kLanes), out_planes = ceil_divide(c.out_channels, kLanes);
  const int64_t out_size = out_planes * kLanes, taps = c.kernel[0] * c.kernel[1];
  std::vector<float> sums(in_planes * kLanes * taps * out_size, 0.f);
  const bool by_input = in_planes >= out_planes;
  share_out(by_input ? in_planes : out_planes, int(c.threads), [&](int64_t begin, int64_t end, int) {
    Share share{0, in_planes, 0, out_planes};
    (by_input ? share.in_plane : share.out_plane) = begin;
    (by_input ? share.in_planes : share.out_planes) = end - begin;
    add_images(c, share, input, grad, sums.data());
  });
  share_out(c.out_channels, int(c.threads), [&](int64_t begin, int64_t end, int) {
    for (int64_t o = begin; o < end; ++o)
      for (int64_t i = 0; i < c.in_channels * taps; ++i)
        assign(grad_weight[o * c.in_channels * taps + i], sums[i * out_size + o]);
  });
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_dense_backward_weight(const Convolution* c, int type, const void* input, const void* grad,
                                                   void* grad_weight) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    backward_weight(*c, static_cast<const T*>(input), static_cast<const T*>(grad), static_cast<T*>(grad_weight));
  });
}

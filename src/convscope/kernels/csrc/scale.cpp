// Maps times a number for each channel of each image, as squeeze-and-excite has it; back, both gradients from one pass
// over the gradient and the maps.
#include <vector>

#include "abi.h"
#include "channels.h"
#include "threads.h"
#include "written.h"

namespace convscope {
namespace {

constexpr int64_t kBlockPixels = 64;  // summed in single precision before they go into double

template <class T>
void forward(int64_t images, int64_t pixels, int64_t channels, const T* input, const float* scale, T* output,
             int threads) {
  const Written<T> to(output, images * pixels * channels, channels);
  share_out(images * pixels, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const float* factor = scale + pixel / pixels * channels;
      for_channels(0, channels, [&](int64_t c, auto lanes) {
        const int64_t i = pixel * channels + c;
        to.put(i, load_first(input + i, lanes) * load_first(factor + c, lanes), lanes);
      });
    }
    finish_streams();
  });
}

template <class T>
void backward(int64_t images, int64_t pixels, int64_t channels, const T* grad, const T* input, const float* scale,
              T* grad_input, float* grad_scale, int threads) {
  const int64_t padded = (channels + kLanes - 1) / kLanes * kLanes;
  // An image is cut where there are few of them, whatever the number of threads.
  const int64_t cuts = std::clamp<int64_t>(pixels / kBlockPixels, 1, (15 + images) / images);
  std::vector<double> parts(images * cuts * channels, 0.0);
  const Written<T> to(grad_input, images * pixels * channels, channels);
  share_out(images * cuts, threads, [&](int64_t begin, int64_t end, int) {
    float* const sums = scratch<0>(padded);
    for (int64_t part = begin; part < end; ++part) {
      const int64_t image = part / cuts, cut = part % cuts, last = pixels * (cut + 1) / cuts;
      const float* factor = scale + image * channels;
      for (int64_t block = pixels * cut / cuts; block < last; block += kBlockPixels) {
        std::fill(sums, sums + padded, 0.f);
        for (int64_t pixel = block; pixel < std::min(last, block + kBlockPixels); ++pixel)
          for_channels(0, channels, [&](int64_t c, auto lanes) {
            const int64_t i = (image * pixels + pixel) * channels + c;
            const Vector g = load_first(grad + i, lanes);
            store(sums + c, load(sums + c) + g * load_first(input + i, lanes));
            if (grad_input) to.put(i, g * load_first(factor + c, lanes), lanes);
          });
        for (int64_t c = 0; c < channels; ++c) parts[part * channels + c] += sums[c];
      }
    }
    finish_streams();
  });
  for (int64_t image = 0; image < images; ++image)
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (int64_t cut = 0; cut < cuts; ++cut) sum += parts[(image * cuts + cut) * channels + c];
      grad_scale[image * channels + c] = float(sum);
    }
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_scale_forward(int type, int64_t images, int64_t pixels, int64_t channels,
                                           const void* input, const float* scale, void* output, int threads) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    forward(images, pixels, channels, static_cast<const T*>(input), scale, static_cast<T*>(output), threads);
  });
}

CONVSCOPE_API void convscope_scale_backward(int type, int64_t images, int64_t pixels, int64_t channels,
                                            const void* grad, const void* input, const float* scale, void* grad_input,
                                            float* grad_scale, int threads) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    backward(images, pixels, channels, static_cast<const T*>(grad), static_cast<const T*>(input), scale,
             static_cast<T*>(grad_input), grad_scale, threads);
  });
}

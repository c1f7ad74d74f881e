// Batch normalisation, the addition of a residual and the activation behind them in one pass, and back in two.
//
// Statistics are sums of distances from the first row of each block, taken in single precision within a block and in
// double beyond: a mean far from zero costs no accuracy. The mean is then a float and a rest, and the rest goes into the
// offset, so that neither does it in the output.
#include <cmath>

#include "abi.h"
#include "columns.h"
#include "functions.h"

namespace convscope {
namespace {

// Sets mean and 1 / sqrt(variance + eps) of each channel.
template <class T>
void find_statistics(const Columns& columns, const T* input, double eps, int threads, double* mean, double* inverse) {
  const int64_t width = columns.width;
  const std::vector<float> first = columns.spread([&](int64_t c) { return to_float(input[c]); });
  const std::vector<double> sums = columns.sum(threads, [&](int64_t block, double* to) {
    float* distance = scratch<0>(2 * width);
    float* square = distance + width;
    std::fill(distance, distance + 2 * width, 0.f);
    const T* origin = input + columns.first_element(block);
    columns.each(block, [&](int64_t i, int64_t c, auto lanes) {
      const Vector d = load_first(input + i, lanes) - load_first(origin + c, lanes);
      store(distance + c, load(distance + c) + d);
      store(square + c, load(square + c) + d * d);
    });
    // From the block's first row to the first of all.
    const double count = columns.height(block);
    for (int64_t c = 0, last = columns.columns_in(block); c < last; ++c) {
      const double shift = double(to_float(origin[c])) - double(first[c]);
      to[c] += distance[c] + count * shift;
      to[width + c] += square[c] + shift * (2.0 * distance[c] + count * shift);
    }
  });
  for (int64_t c = 0; c < columns.channels; ++c) {
    const double distance = sums[c] / columns.pixels;
    const double variance = sums[columns.channels + c] / columns.pixels - distance * distance;
    mean[c] = double(first[c]) + distance;
    inverse[c] = 1.0 / std::sqrt((variance < 0 ? 0 : variance) + eps);
  }
}

// The normalisation of x is (x - shift) * scale + offset.
struct Normalization {
  std::vector<float> shift, scale, offset;

  Normalization(const Columns& columns, const double* mean, const double* inverse, const float* weight,
                const float* bias)
      : shift(columns.spread([&](int64_t c) { return mean[c]; })),
        scale(columns.spread([&](int64_t c) { return inverse[c] * (weight ? weight[c] : 1.0); })),
        offset(columns.spread([&](int64_t c) {
          return (bias ? bias[c] : 0.0) - (mean[c] - float(mean[c])) * inverse[c] * (weight ? weight[c] : 1.0);
        })) {}

  Vector distance(Vector x, int64_t column) const { return x - load(shift.data() + column); }
  Vector of_distance(Vector d, int64_t column) const {
    return d * load(scale.data() + column) + load(offset.data() + column);
  }
};

template <class Activation, bool kResidual, class T>
void normalize(const Columns& columns, const Normalization& n, const T* input, const T* residual, T* output,
               int threads) {
  const Written<T> to(output, columns.pixels * columns.channels);
  columns.backwards(threads, [&](int64_t block) {
    columns.each(block, [&](int64_t i, int64_t c, auto lanes) {
      Vector x = n.of_distance(n.distance(load_first(input + i, lanes), c), c);
      if constexpr (kResidual) x += load_first(residual + i, lanes);
      to.put(i, Activation::value(x), lanes);
    });
  });
}

// What a backward pass reads beside input and gradient to know the activation's slope.
enum class Slope { kInput, kResidual, kOutput };

template <class Activation, Slope kSlope, class T>
inline Vector before_activation(const Normalization& n, Vector d, int64_t c, const T* other, int lanes) {
  if constexpr (kSlope == Slope::kOutput) return load_first(other, lanes);
  Vector x = n.of_distance(d, c);
  if constexpr (kSlope == Slope::kResidual) x += load_first(other, lanes);
  return x;
}

// Sums of the gradient before the activation, and of its products with input - mean. Writes that gradient to `grad_sum`
// if it is given: it is the residual's.
template <class Activation, Slope kSlope, bool kWrite, class T>
std::vector<double> sum_gradients(const Columns& columns, const Normalization& n, const T* grad, const T* input,
                                  const T* other, T* grad_sum, int threads) {
  const int64_t width = columns.width;
  const Written<T> written(grad_sum, columns.pixels * columns.channels);
  return columns.sum(threads, [&](int64_t block, double* to) {
    float* sum = scratch<0>(2 * width);
    float* product = sum + width;
    std::fill(sum, sum + 2 * width, 0.f);
    columns.each(block, [&](int64_t i, int64_t c, auto lanes) {
      const Vector d = n.distance(load_first(input + i, lanes), c);
      const Vector x = before_activation<Activation, kSlope>(n, d, c, other + i, lanes);
      const Vector g = Activation::back(load_first(grad + i, lanes), x);
      if constexpr (kWrite) written.put(i, g, lanes);
      // Lanes beyond the last pixel have a gradient of zero.
      store(sum + c, load(sum + c) + g);
      store(product + c, load(product + c) + g * d);
    });
    for (int64_t c = 0; c < 2 * width; ++c) to[c] += sum[c];  // and product, behind it
  });
}

// The input's gradient is scale * g + slope * (x - shift) + offset, where g is that before the activation.
template <class Activation, Slope kSlope, class T>
void write_gradient(const Columns& columns, const Normalization& n, const std::vector<float>& slope,
                    const std::vector<float>& offset, const T* grad, const T* input, const T* other, T* grad_input,
                    int threads) {
  const Written<T> to(grad_input, columns.pixels * columns.channels);
  columns.backwards(threads, [&](int64_t block) {
    columns.each(block, [&](int64_t i, int64_t c, auto lanes) {
      const Vector d = n.distance(load_first(input + i, lanes), c);
      const Vector x = before_activation<Activation, kSlope>(n, d, c, other + i, lanes);
      const Vector g = Activation::back(load_first(grad + i, lanes), x);
      to.put(i, g * load(n.scale.data() + c) + (d * load(slope.data() + c) + load(offset.data() + c)), lanes);
    });
  });
}

template <class Activation, Slope kSlope, class T>
void backward(const Columns& columns, bool training, const T* grad, const T* input, const T* other, const float* weight,
              const float* bias, const double* mean, const double* inverse, T* grad_input, T* grad_residual,
              float* grad_weight, float* grad_bias, int threads) {
  const Normalization n(columns, mean, inverse, weight, bias);
  // Where the slope is dear, the input's gradient holds that before the activation in between.
  T* const kept = grad_residual ? grad_residual : Activation::kInvertible ? nullptr : grad_input;
  const auto sum_up = kept ? sum_gradients<Activation, kSlope, true, T>
                           : sum_gradients<Activation, kSlope, false, T>;
  const std::vector<double> sums = sum_up(columns, n, grad, input, other, kept, threads);
  const int64_t channels = columns.channels;
  std::vector<double> products(channels);  // with (input - mean) * inverse
  for (int64_t c = 0; c < channels; ++c) {
    products[c] = (sums[channels + c] - (mean[c] - float(mean[c])) * sums[c]) * inverse[c];
    if (grad_weight) grad_weight[c] = float(products[c]);
    if (grad_bias) grad_bias[c] = float(sums[c]);
  }
  if (!grad_input) return;
  const double share = training ? 1.0 / columns.pixels : 0.0;
  const auto scale = [&](int64_t c) { return inverse[c] * (weight ? weight[c] : 1.0) * share; };
  const auto slope = [&](int64_t c) { return -scale(c) * inverse[c] * products[c]; };
  const std::vector<float> slopes = columns.spread(slope), offsets = columns.spread([&](int64_t c) {
    return -scale(c) * sums[c] - slope(c) * (mean[c] - float(mean[c]));
  });
  if (kept)
    write_gradient<Identity, Slope::kInput>(columns, n, slopes, offsets, kept, input, input, grad_input, threads);
  else
    write_gradient<Activation, kSlope>(columns, n, slopes, offsets, grad, input, other, grad_input, threads);
}

}  // namespace
}  // namespace convscope

using namespace convscope;

// Takes `mean` and `inverse` in evaluation, sets them in training.
CONVSCOPE_API void convscope_batch_norm_forward(int type, int activation, int training, int64_t pixels,
                                                int64_t channels, double eps, const void* input, const void* residual,
                                                const float* weight, const float* bias, double* mean, double* inverse,
                                                void* output, int threads) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    const Columns columns(pixels, channels);
    const T* from = static_cast<const T*>(input);
    if (training) find_statistics(columns, from, eps, threads, mean, inverse);
    const Normalization n(columns, mean, inverse, weight, bias);
    with_activation(activation, [&](auto chosen) {
      const auto write = residual ? normalize<decltype(chosen), true, T> : normalize<decltype(chosen), false, T>;
      write(columns, n, from, static_cast<const T*>(residual), static_cast<T*>(output), threads);
    });
  });
}

// With a residual, `output` is read where it tells the activation's slope, and `residual` where it does not.
CONVSCOPE_API void convscope_batch_norm_backward(int type, int activation, int training, int64_t pixels,
                                                 int64_t channels, const void* grad, const void* input,
                                                 const void* residual, const void* output, const float* weight,
                                                 const float* bias, const double* mean, const double* inverse,
                                                 void* grad_input, void* grad_residual, float* grad_weight,
                                                 float* grad_bias, int threads) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    const Columns columns(pixels, channels);
    with_activation(activation, [&](auto chosen) {
      using Activation = decltype(chosen);
      constexpr Slope kOther = Activation::kInvertible ? Slope::kOutput : Slope::kResidual;
      const void* other = Activation::kInvertible ? output : residual;
      const auto run = other ? backward<Activation, kOther, T> : backward<Activation, Slope::kInput, T>;
      run(columns, training, static_cast<const T*>(grad), static_cast<const T*>(input), static_cast<const T*>(other),
          weight, bias, mean, inverse, static_cast<T*>(grad_input), static_cast<T*>(grad_residual), grad_weight,
          grad_bias, threads);
    });
  });
}

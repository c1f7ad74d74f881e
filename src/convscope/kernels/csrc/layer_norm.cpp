// Layer normalisation of rows, over the channels that lie together in memory, and the activation behind it: each row is
// read from memory once and written once, in both directions.
//
// The mean is a float near it and a rest, and squares are of distances from that float: a mean far from zero costs no
// accuracy. Going back the statistics are computed anew, from what is in the cache anyway.
#include <cmath>
#include <vector>

#include "abi.h"
#include "channels.h"
#include "functions.h"
#include "threads.h"
#include "written.h"

namespace convscope {
namespace {

// Vectors that are summed in single precision before they go into double.
constexpr int64_t kSummed = 256;
constexpr int64_t kBlockRows = 64;
// Rows whose statistics are computed together, so that the end of one does not wait for that of another.
constexpr int64_t kGroup = 8;

inline float total(Vector x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int half = kLanes / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

struct Sums {
  double one = 0, two = 0;
};

// Sums over a row of the two vectors that terms(channel, lanes, one, two) adds to.
template <class Terms>
CONVSCOPE_INLINE Sums sum_row(int64_t channels, Terms&& terms) {
  Sums sums;
  for (int64_t first = 0; first < channels; first += kSummed * kLanes) {
    // Two at a time, so that an addition does not wait for the one before.
    Vector one[2] = {}, two[2] = {};
    const int64_t last = std::min(channels, first + kSummed * kLanes);
    const std::integral_constant<int, kLanes> whole;
    int64_t c = first;
    for (; c + 2 * kLanes <= last; c += 2 * kLanes) {
      terms(c, whole, one[0], two[0]);
      terms(c + kLanes, whole, one[1], two[1]);
    }
    for_channels(c, last, [&](int64_t c, auto lanes) { terms(c, lanes, one[0], two[0]); });
    sums.one += total(one[0] + one[1]);
    sums.two += total(two[0] + two[1]);
  }
  return sums;
}

// The normalisation of x is (x - near) * inverse + offset.
struct Row {
  Vector near, inverse, offset;

  Row() = default;
  template <class T>
  Row(const T* input, int64_t channels, double eps) {
    const int count = int(std::min<int64_t>(channels, kLanes));
    const double share = 1.0 / channels;
    double mean = total(load_first(input, count)) / count, distance, variance;
    // A second time if the first few are so far from the others that squares of distances from them cancel.
    for (int again = 2; again; --again) {
      near = broadcast(float(mean));
      const Sums sums = sum_row(channels, [&](int64_t c, auto lanes, Vector& one, Vector& two) {
        const Vector d = first_lanes(load_first(input + c, lanes) - near, lanes);
        one += d;
        two += d * d;
      });
      distance = sums.one * share;
      variance = sums.two * share - distance * distance;
      if (distance * distance <= 4 * variance) break;
      mean = double(near[0]) + distance;
    }
    const double scale = 1.0 / std::sqrt((variance < 0 ? 0 : variance) + eps);
    inverse = broadcast(float(scale));
    offset = broadcast(float(-distance * scale));
  }

  Vector normalized(Vector x) const { return (x - near) * inverse + offset; }
};

// Weight and bias, also where there are none.
struct Affine {
  std::vector<float> weight, bias;

  Affine(const float* given_weight, const float* given_bias, int64_t channels)
      : weight(channels, 1.f), bias(channels, 0.f) {
    if (given_weight) std::copy_n(given_weight, channels, weight.data());
    if (given_bias) std::copy_n(given_bias, channels, bias.data());
  }
};

template <class Activation, class T>
void forward(int64_t rows, int64_t channels, double eps, const T* input, const Affine& affine, T* output, int threads) {
  share_out(rows, threads, [&](int64_t begin, int64_t end, int) {
    const Written<T> to(output, rows * channels, channels);
    const float* const weight = affine.weight.data();
    const float* const bias = affine.bias.data();
    for (int64_t first = begin; first < end; first += kGroup) {
      const int64_t count = std::min(kGroup, end - first);
      Row group[kGroup];
      for (int64_t i = 0; i < count; ++i) group[i] = Row(input + (first + i) * channels, channels, eps);
      for (int64_t i = 0; i < count; ++i) {
        const Row row = group[i];
        const int64_t place = (first + i) * channels;
        for_channels(0, channels, [&](int64_t c, auto lanes) {
          const Vector n = row.normalized(load_first(input + place + c, lanes));
          const Vector x = n * load_first(weight + c, lanes) + load_first(bias + c, lanes);
          to.put(place + c, Activation::value(x), lanes);
        });
      }
    }
    finish_streams();
  });
}

// Of a few rows. With n the normalised input and g the gradient before weight and bias, the input's gradient is
// (g - mean of g - n * mean of g * n) * inverse. `sums`: of the gradients of weight and bias, 2 * padded floats.
template <class Activation, class T>
void backward_group(int64_t count, int64_t channels, double eps, const T* grad, const T* input, const Affine& affine,
                    const Written<T>* written, int64_t place, float* sums, int64_t padded) {
  const float* const weight = affine.weight.data();
  const float* const bias = affine.bias.data();
  float* const kept = scratch<0>(kGroup * padded);
  Row group[kGroup];
  Sums means[kGroup];
  for (int64_t i = 0; i < count; ++i) group[i] = Row(input + i * channels, channels, eps);
  for (int64_t i = 0; i < count; ++i) {
    const Row row = group[i];
    means[i] = sum_row(channels, [&](int64_t c, auto lanes, Vector& one, Vector& two) {
      const Vector n = first_lanes(row.normalized(load_first(input + i * channels + c, lanes)), lanes);
      const Vector w = load_first(weight + c, lanes);
      const Vector x = n * w + load_first(bias + c, lanes);
      Vector g = Activation::back(load_first(grad + i * channels + c, lanes), x);
      store(sums + c, load(sums + c) + g * n);
      store(sums + padded + c, load(sums + padded + c) + g);
      g *= w;
      store(kept + i * padded + c, g);
      one += g;
      two += g * n;
    });
  }
  if (!written) return;
  const Written<T> to = *written;
  for (int64_t i = 0; i < count; ++i) {
    const Row row = group[i];
    const Vector mean = broadcast(float(means[i].one / channels)), slope = broadcast(float(means[i].two / channels));
    const Vector factor = slope * row.inverse, constant = slope * row.offset;
    for_channels(0, channels, [&](int64_t c, auto lanes) {
      const Vector d = load_first(input + i * channels + c, lanes) - row.near;
      // What cancels is subtracted before it is multiplied: eps may make `inverse` large.
      const Vector g = load(kept + i * padded + c) - mean - (d * factor + constant);
      to.put(place + i * channels + c, g * row.inverse, lanes);
    });
  }
}

template <class Activation, class T>
void backward(int64_t rows, int64_t channels, double eps, const T* grad, const T* input, const Affine& affine,
              T* grad_input, float* grad_weight, float* grad_bias, int threads) {
  const int64_t padded = (channels + kLanes - 1) / kLanes * kLanes;
  const int64_t chunks = std::clamp<int64_t>(rows / kBlockRows, 1, 32);  // whatever the number of threads
  std::vector<double> parts(chunks * 2 * padded, 0.0);
  const Written<T> to(grad_input, rows * channels, channels);
  share_out(chunks, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t last = rows * (chunk + 1) / chunks;
      double* const part = parts.data() + chunk * 2 * padded;
      float* const sums = scratch<1>(2 * padded);
      for (int64_t block = rows * chunk / chunks; block < last; block += kBlockRows) {
        std::fill(sums, sums + 2 * padded, 0.f);
        const int64_t stop = std::min(last, block + kBlockRows);
        for (int64_t row = block; row < stop; row += kGroup)
          backward_group<Activation>(std::min(kGroup, stop - row), channels, eps, grad + row * channels,
                                     input + row * channels, affine, grad_input ? &to : nullptr, row * channels, sums,
                                     padded);
        for (int64_t c = 0; c < 2 * padded; ++c) part[c] += sums[c];
      }
    }
    finish_streams();
  });
  for (int64_t c = 0; c < channels; ++c) {
    double products = 0, sum = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      products += parts[chunk * 2 * padded + c];
      sum += parts[(chunk * 2 + 1) * padded + c];
    }
    if (grad_weight) grad_weight[c] = float(products);
    if (grad_bias) grad_bias[c] = float(sum);
  }
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_layer_norm_forward(int type, int activation, int64_t rows, int64_t channels, double eps,
                                                const void* input, const float* weight, const float* bias, void* output,
                                                int threads) {
  const Affine affine(weight, bias, channels);
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    with_activation(activation, [&](auto chosen) {
      forward<decltype(chosen)>(rows, channels, eps, static_cast<const T*>(input), affine, static_cast<T*>(output),
                                threads);
    });
  });
}

CONVSCOPE_API void convscope_layer_norm_backward(int type, int activation, int64_t rows, int64_t channels, double eps,
                                                 const void* grad, const void* input, const float* weight,
                                                 const float* bias, void* grad_input, float* grad_weight,
                                                 float* grad_bias, int threads) {
  const Affine affine(weight, bias, channels);
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    with_activation(activation, [&](auto chosen) {
      backward<decltype(chosen)>(rows, channels, eps, static_cast<const T*>(grad), static_cast<const T*>(input), affine,
                                 static_cast<T*>(grad_input), grad_weight, grad_bias, threads);
    });
  });
}

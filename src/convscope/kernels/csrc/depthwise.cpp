// Depthwise convolution: every channel has a filter of its own. Output and both gradients, any window.
//
// Forward and input gradient are the same loop: an output is a sum over taps, each a vector of weights times the pixels
// at some distance. Some outputs of a row are kept in registers. The weight gradient keeps the sums of a row of taps.
#include "abi.h"
#include "rows.h"
#include "threads.h"

namespace convscope {
namespace {

// For each vector of channels the taps of `rows` x `columns`, kLanes weights each.
template <class T>
std::vector<float> pack_weights(const T* weight, const Convolution& c, const Axis& rows, const Axis& columns) {
  const int64_t taps = rows.taps.size() * columns.taps.size();
  std::vector<float> packed(ceil_divide(c.in_channels, kLanes) * taps * kLanes, 0.f);
  for (int64_t channel = 0; channel < c.in_channels; ++channel) {
    float* to = packed.data() + channel / kLanes * kLanes * taps + channel % kLanes;
    for (int64_t y : rows.taps)
      for (int64_t x : columns.taps) {
        *to = to_float(weight[(channel * c.kernel[0] + y) * c.kernel[1] + x]);
        to += kLanes;
      }
  }
  return packed;
}

// What a tile of outputs reads: for each row of taps the first pixel, and the weights of one vector of channels.
struct Taps {
  const float* const* pixels;
  const float* weights;
  int64_t rows, columns, spacing, step;  // the last two in floats
};

// Adds the taps of `kTile` outputs side by side. Where the window is known, a pixel is loaded once for all of them.
template <int kTile, int kColumns, int kStep>
inline void add_taps(const Taps& t, int64_t offset, Vector* sums) {
  const float* weights = t.weights;
  for (int64_t y = 0; y < t.rows; ++y, weights += kColumns * kLanes) {
    const float* row = t.pixels[y] + offset;
    Vector weight[kColumns];
#pragma GCC unroll 8
    for (int x = 0; x < kColumns; ++x) weight[x] = load(weights + x * kLanes);
#pragma GCC unroll 32
    for (int p = 0; p < (kTile - 1) * kStep + kColumns; ++p) {
      const Vector pixel = load(row + p * kLanes);
#pragma GCC unroll 8
      for (int x = 0; x < kColumns; ++x)
        if (p >= x && (p - x) % kStep == 0 && (p - x) / kStep < kTile) sums[(p - x) / kStep] += pixel * weight[x];
    }
  }
}

template <int kTile>
inline void add_any_taps(const Taps& t, int64_t offset, Vector* sums) {
  const float* weights = t.weights;
  for (int64_t y = 0; y < t.rows; ++y)
    for (int64_t x = 0; x < t.columns; ++x, weights += kLanes) {
      const float* from = t.pixels[y] + offset + x * t.spacing;
      const Vector weight = load(weights);
#pragma GCC unroll 8
      for (int i = 0; i < kTile; ++i) sums[i] += load(from + i * t.step) * weight;
    }
}

// A row of `width` outputs of one vector of channels, `output_step` apart; kColumns = 0 takes any window.
template <int kColumns, int kStep, class T>
void sum_row(const Taps& t, Vector start, T* output, int64_t output_step, int64_t width, int channels) {
  int64_t offset = 0;
  const auto tile = [&](auto size) {
    constexpr int kTile = decltype(size)::value;
    Vector sums[kTile];
#pragma GCC unroll 8
    for (int i = 0; i < kTile; ++i) sums[i] = start;
    if constexpr (kColumns > 0)
      add_taps<kTile, kColumns, kStep>(t, offset, sums);
    else
      add_any_taps<kTile>(t, offset, sums);
#pragma GCC unroll 8
    for (int i = 0; i < kTile; ++i) store_first(output + i * output_step, sums[i], channels);
    offset += kTile * t.step;
    output += kTile * output_step;
    width -= kTile;
  };
  while (width % 8 != 0 && width >= 7) tile(std::integral_constant<int, 7>());
  while (width >= 8) tile(std::integral_constant<int, 8>());
  while (width >= 4) tile(std::integral_constant<int, 4>());
  while (width >= 1) tile(std::integral_constant<int, 1>());
}

template <class T>
using RowSum = void (*)(const Taps&, Vector, T*, int64_t, int64_t, int);

template <class T>
RowSum<T> choose_row_sum(const Axis& columns) {
  if (columns.spacing == 1 && columns.step == 1) switch (columns.taps.size()) {
      case 1: return sum_row<1, 1, T>;
      case 2: return sum_row<2, 1, T>;
      case 3: return sum_row<3, 1, T>;
      case 4: return sum_row<4, 1, T>;
      case 5: return sum_row<5, 1, T>;
      case 7: return sum_row<7, 1, T>;
    }
  if (columns.spacing == 1 && columns.step == 2) switch (columns.taps.size()) {
      case 3: return sum_row<3, 2, T>;
      case 5: return sum_row<5, 2, T>;
      case 7: return sum_row<7, 2, T>;
    }
  return sum_row<0, 0, T>;
}

// Some outputs of an image: those of a remainder by the stride along each axis.
template <class T>
struct Phase {
  Axis rows, columns;
  std::vector<float> weights;
  RowSum<T> sum;

  Phase(const Convolution& c, const Axis& rows, const Axis& columns, const T* weight)
      : rows(rows), columns(columns), weights(pack_weights(weight, c, rows, columns)),
        sum(choose_row_sum<T>(columns)) {}
};

// Columns of input that the outputs of `phases` read, in a row of `width` outputs: first and one behind the last.
struct Span {
  int64_t first = INT64_MAX, last = INT64_MIN;
  void add(const Axis& axis, int64_t begin, int64_t end) {  // of outputs
    const int64_t from = std::max<int64_t>(0, ceil_divide(begin - axis.start, axis.stride));
    const int64_t count = ceil_divide(end - axis.start, axis.stride);
    if (axis.taps.empty() || from >= count) return;
    first = std::min(first, axis.first + from * axis.step);
    last = std::max(last, axis.first + (count - 1) * axis.step + axis.last_tap() + 1);
  }
  bool empty() const { return first >= last; }
  int64_t size() const { return empty() ? 0 : last - first; }
};

// Writes `output` row by row as the sums that `row_axes` x `column_axes` describe.
template <class T>
void correlate(const Convolution& c, const Image& in, const Image& out, const std::vector<Axis>& row_axes,
               const std::vector<Axis>& column_axes, const T* input, const T* weight, const T* bias, T* output) {
  std::vector<Phase<T>> phases;
  Span columns, window;
  for (const Axis& x : column_axes) columns.add(x, 0, out.width);
  for (const Axis& y : row_axes) window.add(y, 0, std::min<int64_t>(out.height, row_axes.size()));
  for (const Axis& y : row_axes)
    for (const Axis& x : column_axes) phases.emplace_back(c, y, x, weight);
  const int64_t capacity = std::max<int64_t>(1, window.size());
  const int64_t row_bytes = Rows<T>::size(1, columns.size(), capacity) * sizeof(float);
  const Cut cut(c.batch, out.height, out.channels, row_bytes, c.threads);
  share_out(cut.count(), int(c.threads), [&](int64_t begin, int64_t end, int) {
    float* data = scratch<0>(Rows<T>::size(cut.group_planes, columns.size(), capacity));
    std::vector<const float*> pixels(capacity), first_plane(capacity);
    const int64_t pitch = Rows<T>::pitch(columns.size());
    for (int64_t index = begin; index < end; ++index) {
      const auto item = cut.item(index, out.height);
      Span read;
      for (const Axis& y : row_axes) read.add(y, item.first_row, item.last_row);
      Rows<T> rows(data, input + item.image * in.size(), in, item.plane * kLanes, item.planes, columns.first,
                   columns.size(), read.first, capacity);
      for (int64_t y = item.first_row; y < item.last_row; ++y) {
        const Axis& row_axis = row_axes[y % row_axes.size()];
        const int64_t first = row_axis.first + y / row_axis.stride * row_axis.step;
        const int64_t taps = row_axis.taps.size();
        if (taps > 0) rows.read_until(first + row_axis.last_tap() + 1);
        for (int64_t k = 0; k < taps; ++k) first_plane[k] = rows.row(first + k * row_axis.spacing);
        for (int64_t plane = 0; plane < item.planes; ++plane) {
          const int64_t channel = (item.plane + plane) * kLanes;
          const int count = int(std::min<int64_t>(kLanes, out.channels - channel));
          const Vector start = bias ? load_first(bias + channel, count) : Vector{};
          for (size_t x = 0; x < column_axes.size(); ++x) {
            const Phase<T>& phase = phases[y % row_axes.size() * column_axes.size() + x];
            const int64_t offset = plane * pitch + (phase.columns.first - columns.first) * kLanes;
            for (int64_t k = 0; k < taps; ++k) pixels[k] = first_plane[k] + offset;
            const Taps t{pixels.data(), phase.weights.data() + channel * taps * phase.columns.taps.size(), taps,
                         int64_t(phase.columns.taps.size()), phase.columns.spacing * kLanes, phase.columns.step * kLanes};
            T* to = output + item.image * out.size() + (y * out.width + phase.columns.start) * out.channels + channel;
            phase.sum(t, start, to, phase.columns.stride * out.channels,
                      ceil_divide(out.width - phase.columns.start, phase.columns.stride), count);
          }
        }
      }
    }
  });
}

// Adds to sums of (kRows, kColumns) taps the products of a row of gradients with the pixels under each tap.
template <int kRows, int kColumns>
void add_products(const float* grad, int64_t width, const float* const* pixels, int64_t spacing, int64_t step,
                  float* sums) {
  constexpr int kSets = kRows * kColumns < 8 ? 2 : 1;  // sums enough to hide an addition's latency
  Vector total[kSets][kRows][kColumns] = {};
  const auto add = [&](int set, int64_t i) {
    const Vector g = load(grad + i * kLanes);
#pragma GCC unroll 4
    for (int y = 0; y < kRows; ++y)
#pragma GCC unroll 8
      for (int x = 0; x < kColumns; ++x) total[set][y][x] += g * load(pixels[y] + i * step + x * spacing);
  };
  int64_t i = 0;
  for (; i + kSets <= width; i += kSets)
#pragma GCC unroll 2
    for (int set = 0; set < kSets; ++set) add(set, i + set);
  for (; i < width; ++i) add(0, i);
  for (int y = 0; y < kRows; ++y)
    for (int x = 0; x < kColumns; ++x) {
      float* to = sums + (y * kColumns + x) * kLanes;
      Vector sum = total[0][y][x];
      if constexpr (kSets == 2) sum += total[1][y][x];
      store(to, load(to) + sum);
    }
}

// All taps of one vector of channels for one row of gradients.
void add_row(const float* grad, int64_t width, const float* const* pixels, int64_t rows, int64_t columns,
             int64_t spacing, int64_t step, float* sums) {
  if (rows == 3 && columns == 3) return add_products<3, 3>(grad, width, pixels, spacing, step, sums);
  for (int64_t y = 0; y < rows; ++y) {
    const float* row = pixels[y];
    for (int64_t x = 0; x < columns;) {
      const auto take = [&](auto size) {
        add_products<1, decltype(size)::value>(grad, width, &row, spacing, step, sums);
        row += decltype(size)::value * spacing;
        sums += decltype(size)::value * kLanes;
        x += decltype(size)::value;
      };
      const int64_t left = columns - x;
      if (left == 7) take(std::integral_constant<int, 7>());
      else if (left == 5) take(std::integral_constant<int, 5>());
      else if (left >= 4) take(std::integral_constant<int, 4>());
      else if (left == 3) take(std::integral_constant<int, 3>());
      else take(std::integral_constant<int, 1>());
    }
  }
}

template <class T>
void backward_weight(const Convolution& c, const T* input, const T* grad, T* grad_weight) {
  const Image in = input_image(c), out = output_image(c);
  const Axis row_axis = forward_axis(c, 0), column_axis = forward_axis(c, 1);
  const int64_t columns = (out.width - 1) * c.stride[1] + column_axis.last_tap() + 1;
  const int64_t taps = c.kernel[0] * c.kernel[1], capacity = row_axis.last_tap() + 1;
  const int64_t row_bytes = (Rows<T>::size(1, columns, capacity) + Rows<T>::pitch(out.width)) * sizeof(float);
  const Cut cut(c.batch, out.height, c.in_channels, row_bytes, c.threads);
  const int64_t size = cut.planes * taps * kLanes;
  std::vector<float> shares(size * c.threads, 0.f);
  share_out(cut.count(), int(c.threads), [&](int64_t begin, int64_t end, int thread) {
    float* sums = shares.data() + thread * size;
    float* data = scratch<0>(Rows<T>::size(cut.group_planes, columns, capacity));
    float* grad_data = scratch<1>(Rows<T>::size(cut.group_planes, out.width, 1));
    std::vector<const float*> pixels(c.kernel[0]), first_plane(c.kernel[0]);
    for (int64_t index = begin; index < end; ++index) {
      const auto item = cut.item(index, out.height);
      Rows<T> rows(data, input + item.image * in.size(), in, item.plane * kLanes, item.planes, column_axis.first,
                   columns, row_axis.first + item.first_row * c.stride[0], capacity);
      Rows<T> grads(grad_data, grad + item.image * out.size(), out, item.plane * kLanes, item.planes, 0, out.width,
                    item.first_row, 1);
      for (int64_t y = item.first_row; y < item.last_row; ++y) {
        const int64_t first = row_axis.first + y * c.stride[0];
        rows.read_until(first + row_axis.last_tap() + 1);
        grads.read_until(y + 1);
        for (int64_t k = 0; k < c.kernel[0]; ++k) first_plane[k] = rows.row(first + k * c.dilation[0]);
        for (int64_t plane = 0; plane < item.planes; ++plane) {
          for (int64_t k = 0; k < c.kernel[0]; ++k) pixels[k] = first_plane[k] + plane * Rows<T>::pitch(columns);
          add_row(grads.row(y) + plane * Rows<T>::pitch(out.width), out.width, pixels.data(), c.kernel[0],
                  c.kernel[1], c.dilation[1] * kLanes, c.stride[1] * kLanes, sums + (item.plane + plane) * taps * kLanes);
        }
      }
    }
  });
  for (int64_t channel = 0; channel < c.in_channels; ++channel)
    for (int64_t t = 0; t < taps; ++t) {
      float sum = 0;
      for (int64_t thread = 0; thread < c.threads; ++thread)
        sum += shares[thread * size + (channel / kLanes * taps + t) * kLanes + channel % kLanes];
      assign(grad_weight[channel * taps + t], sum);
    }
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_depthwise_forward(const Convolution* c, int type, const void* input, const void* weight,
                                               const void* bias, void* output) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    correlate(*c, input_image(*c), output_image(*c), {forward_axis(*c, 0)}, {forward_axis(*c, 1)},
              static_cast<const T*>(input), static_cast<const T*>(weight), static_cast<const T*>(bias),
              static_cast<T*>(output));
  });
}

CONVSCOPE_API void convscope_depthwise_backward_input(const Convolution* c, int type, const void* grad,
                                                      const void* weight, void* grad_input) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    correlate(*c, output_image(*c), input_image(*c), backward_axes(*c, 0), backward_axes(*c, 1),
              static_cast<const T*>(grad), static_cast<const T*>(weight), static_cast<const T*>(nullptr),
              static_cast<T*>(grad_input));
  });
}

CONVSCOPE_API void convscope_depthwise_backward_weight(const Convolution* c, int type, const void* input,
                                                       const void* grad, void* grad_weight) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    backward_weight(*c, static_cast<const T*>(input), static_cast<const T*>(grad), static_cast<T*>(grad_weight));
  });
}

// The loop behind outputs and input gradients: an output is a sum over taps, each a vector of weights times the pixels
// at some distance. Some outputs of a row are kept in registers.
#pragma once

#include "spread.h"
#include "threads.h"

namespace convscope {

// One way through a convolution: input to output, or the gradient of the output to that of the input.
struct Way {
  Image in, out;
  Channels channels;
  bool backward;
  std::vector<Axis> rows, columns;

  static Way forward(const Convolution& c) {
    const Channels channels(c.in_channels / c.groups, c.out_channels / c.groups, c.out_channels);
    return {input_image(c), output_image(c), channels, false, {forward_axis(c, 0)}, {forward_axis(c, 1)}};
  }
  static Way back(const Convolution& c) {
    const Channels channels(c.out_channels / c.groups, c.in_channels / c.groups, c.in_channels);
    return {output_image(c), input_image(c), channels, true, backward_axes(c, 0), backward_axes(c, 1)};
  }
};

// For each vector of output channels and input channel of a group the taps of `rows` x `columns`, kLanes weights each.
template <class T>
std::vector<float> pack_weights(const T* weight, const Convolution& c, const Way& way, const Axis& rows,
                                const Axis& columns) {
  const Channels& each = way.channels;
  const int64_t taps = rows.taps.size() * columns.taps.size();
  const int64_t planes = ceil_divide(way.out.channels, kLanes);
  std::vector<float> packed(planes * each.in * taps * kLanes, 0.f);
  float* to = packed.data();
  for (int64_t plane = 0; plane < planes; ++plane)
    for (int64_t i = 0; i < each.in; ++i) {
      const int lanes = int(std::min<int64_t>(kLanes, way.out.channels - plane * kLanes));
      const T* filters[kLanes];
      for (int lane = 0; lane < lanes; ++lane) {
        const int64_t channel = plane * kLanes + lane;
        const int64_t filter = way.backward ? (channel / each.out * each.in + i) * each.out + channel % each.out
                                            : channel * each.in + i;
        filters[lane] = weight + filter * c.kernel[0] * c.kernel[1];
      }
      for (int64_t y : rows.taps)
        for (int64_t x : columns.taps) {
          for (int lane = 0; lane < lanes; ++lane) to[lane] = to_float(filters[lane][y * c.kernel[1] + x]);
          to += kLanes;
        }
    }
  return packed;
}

// What a tile of outputs reads: for each load and row of taps the first pixel, and the weights of one output vector.
struct Taps {
  const float* const* pixels;
  const float* weights;
  int64_t loads, rows, columns, spacing, step;  // the last two in floats
};

// Adds the taps of `kTile` outputs side by side. Where the window is known, a pixel is loaded once for all of them.
template <int kSpread, int kTile, int kColumns, int kStep>
CONVSCOPE_INLINE void add_taps(const Taps& t, int64_t offset, Vector* sums) {
  const float* weights = t.weights;
  const float* const* pixels = t.pixels;
  for (int64_t load_index = 0; load_index < t.loads; ++load_index, pixels += t.rows)
    each<kHeld<kSpread>>([&](auto channel) __attribute__((always_inline)) {
      for (int64_t y = 0; y < t.rows; ++y, weights += kColumns * kLanes) {
        const float* row = pixels[y] + offset;
        Vector weight[kColumns];
#pragma GCC unroll 8
        for (int x = 0; x < kColumns; ++x) weight[x] = load(weights + x * kLanes);
#pragma GCC unroll 32
        for (int p = 0; p < (kTile - 1) * kStep + kColumns; ++p) {
          const Vector pixel = fetch<kSpread, channel()>(row + p * kLanes);
#pragma GCC unroll 8
          for (int x = 0; x < kColumns; ++x)
            if (p >= x && (p - x) % kStep == 0 && (p - x) / kStep < kTile) sums[(p - x) / kStep] += pixel * weight[x];
        }
      }
    });
}

template <int kSpread, int kTile>
CONVSCOPE_INLINE void add_any_taps(const Taps& t, int64_t offset, Vector* sums) {
  const float* weights = t.weights;
  const float* const* pixels = t.pixels;
  for (int64_t load_index = 0; load_index < t.loads; ++load_index, pixels += t.rows)
    each<kHeld<kSpread>>([&](auto channel) __attribute__((always_inline)) {
      for (int64_t y = 0; y < t.rows; ++y)
        for (int64_t x = 0; x < t.columns; ++x, weights += kLanes) {
          const float* from = pixels[y] + offset + x * t.spacing;
          const Vector weight = load(weights);
#pragma GCC unroll 8
          for (int i = 0; i < kTile; ++i) sums[i] += fetch<kSpread, channel()>(from + i * t.step) * weight;
        }
    });
}

// A row of `width` outputs of one vector of channels, `output_step` apart; kColumns = 0 takes any window.
template <int kSpread, int kColumns, int kStep>
void sum_row(const Taps& t, Vector start, float* output, int64_t output_step, int64_t width, int channels) {
  int64_t offset = 0;
  const auto tile = [&](auto size) __attribute__((always_inline)) {
    constexpr int kTile = decltype(size)::value;
    Vector sums[kTile];
#pragma GCC unroll 8
    for (int i = 0; i < kTile; ++i) sums[i] = start;
    if constexpr (kColumns > 0)
      add_taps<kSpread, kTile, kColumns, kStep>(t, offset, sums);
    else
      add_any_taps<kSpread, kTile>(t, offset, sums);
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

using RowSum = void (*)(const Taps&, Vector, float*, int64_t, int64_t, int);

template <int kSpread>
RowSum choose_row_sum(const Axis& columns) {
  if (columns.spacing == 1 && columns.step == 1) switch (columns.taps.size()) {
      case 1: return sum_row<kSpread, 1, 1>;
      case 2: return sum_row<kSpread, 2, 1>;
      case 3: return sum_row<kSpread, 3, 1>;
    }
  if (columns.spacing == 1 && columns.step == 2 && columns.taps.size() == 3) return sum_row<kSpread, 3, 2>;
  if constexpr (kSpread > 1) return sum_row<kSpread, 0, 0>;  // larger ones are rare in groups, and slow to compile
  if (columns.spacing == 1 && columns.step == 1) switch (columns.taps.size()) {
      case 4: return sum_row<kSpread, 4, 1>;
      case 5: return sum_row<kSpread, 5, 1>;
      case 7: return sum_row<kSpread, 7, 1>;
    }
  if (columns.spacing == 1 && columns.step == 2) switch (columns.taps.size()) {
      case 5: return sum_row<kSpread, 5, 2>;
      case 7: return sum_row<kSpread, 7, 2>;
    }
  return sum_row<kSpread, 0, 0>;
}

// Some outputs of an image: those of a remainder by the stride along each axis.
struct Phase {
  Axis columns;
  std::vector<float> weights;
  RowSum sum;

  template <class T>
  Phase(const Convolution& c, const Way& way, const Axis& rows, const Axis& columns, const T* weight,
        RowSum sum)
      : columns(columns), weights(pack_weights(weight, c, way, rows, columns)), sum(sum) {}
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

// Writes `output` row by row as the sums that the way describes.
template <int kSpread, class T>
void correlate(const Convolution& c, const Way& way, const T* input, const T* weight, const T* bias, T* output) {
  const Image &in = way.in, &out = way.out;
  const Channels& channels = way.channels;
  std::vector<Phase> phases;
  Span columns, window;
  for (const Axis& x : way.columns) columns.add(x, 0, out.width);
  for (const Axis& y : way.rows) window.add(y, 0, std::min<int64_t>(out.height, way.rows.size()));
  for (const Axis& y : way.rows)
    for (const Axis& x : way.columns) phases.emplace_back(c, way, y, x, weight, choose_row_sum<kSpread>(x));
  const int64_t capacity = std::max<int64_t>(1, window.size()), loads = channels.loads();
  const int64_t row_bytes = Rows<T>::size(1, columns.size(), capacity) * sizeof(float);
  const int64_t weight_bytes = channels.in * c.kernel[0] * c.kernel[1] * kLanes * sizeof(float);
  const Cut cut(c.batch, out.height, out.channels, channels.bytes_per_plane(row_bytes), weight_bytes, c.threads);
  share_out(cut.count(), int(c.threads), [&](int64_t begin, int64_t end, int) {
    std::vector<const float*> pixels(loads * capacity), first_plane(capacity);
    const int64_t pitch = Rows<T>::pitch(columns.size());
    for (int64_t index = begin; index < end; ++index) {
      const auto item = cut.item(index, out.height);
      Span read;
      for (const Axis& y : way.rows) read.add(y, item.first_row, item.last_row);
      const int64_t planes = channels.row_planes(item.plane, item.planes);
      Rows<T> rows(scratch<0>(Rows<T>::size(planes, columns.size(), capacity)), input + item.image * in.size(), in,
                   channels.first_channel(item.plane), planes, columns.first, columns.size(), read.first, capacity,
                   channels.order_of(item.plane));
      for (int64_t y = item.first_row; y < item.last_row; ++y) {
        const Axis& row_axis = way.rows[y % way.rows.size()];
        const int64_t first = row_axis.first + y / row_axis.stride * row_axis.step;
        const int64_t taps = row_axis.taps.size();
        if (taps > 0) rows.read_until(first + row_axis.last_tap() + 1);
        for (int64_t k = 0; k < taps; ++k) first_plane[k] = rows.row(first + k * row_axis.spacing);
        for (int64_t plane = item.plane; plane < item.plane + item.planes; ++plane) {
          const int64_t channel = plane * kLanes;
          const int count = int(std::min<int64_t>(kLanes, out.channels - channel));
          const Vector start = bias ? load_first(bias + channel, count) : Vector{};
          for (size_t x = 0; x < way.columns.size(); ++x) {
            const Phase& phase = phases[y % way.rows.size() * way.columns.size() + x];
            const int64_t shift = (phase.columns.first - columns.first) * kLanes;
            for (int64_t i = 0; i < loads; ++i)
              for (int64_t k = 0; k < taps; ++k)
                pixels[i * taps + k] = first_plane[k] + channels.offset(item.plane, plane, i, pitch) + shift;
            const int64_t all_taps = channels.in * taps * phase.columns.taps.size();
            const Taps t{pixels.data(), phase.weights.data() + channel * all_taps, loads, taps,
                         int64_t(phase.columns.taps.size()), phase.columns.spacing * kLanes,
                         phase.columns.step * kLanes};
            T* to = output + item.image * out.size() + (y * out.width + phase.columns.start) * out.channels + channel;
            const int64_t step = phase.columns.stride * out.channels;
            const int64_t width = ceil_divide(out.width - phase.columns.start, phase.columns.stride);
            if constexpr (std::is_same_v<T, float>) {
              phase.sum(t, start, to, step, width, count);
            } else {
              float* sums = scratch<1>(width * kLanes);
              phase.sum(t, start, sums, kLanes, width, kLanes);
              for (int64_t i = 0; i < width; ++i) store_first(to + i * step, load(sums + i * kLanes), count);
            }
          }
        }
      }
    }
  });
}

}  // namespace convscope

// The loop behind weight gradients: it brings rows of gradients and the rows of input that they meet to hand, keeps
// sums for every thread and adds them up at the end. What is added at a time is the family's own.
#pragma once

#include "spread.h"
#include "threads.h"

namespace convscope {

// Some rows of gradients of some vectors of output channels, and the pixels that meet their first columns.
struct Meeting {
  int64_t planes, rows, width;
  const float* const* grads;  // (planes, rows)
  const float* const* pixels;  // (loads, K_h, rows), of the first plane
  float* sums;  // (planes, C_in / groups, K_h, K_w, kLanes)
};

// Calls add(meeting) for `vectors` planes and about `rows` rows at a time.
template <class T, class Add>
void weight_gradient(const Convolution& c, int64_t vectors, int64_t rows, const T* input, const T* grad, T* grad_weight,
                     const Add& add) {
  const Image in = input_image(c), out = output_image(c);
  const Channels channels(c.in_channels / c.groups, c.out_channels / c.groups, c.out_channels);
  const Axis row_axis = forward_axis(c, 0), column_axis = forward_axis(c, 1);
  const int64_t columns = (out.width - 1) * c.stride[1] + column_axis.last_tap() + 1, pitch = Rows<T>::pitch(columns);
  const int64_t taps = c.kernel[0] * c.kernel[1], loads = channels.loads();
  rows = std::clamp<int64_t>(rows, 1, out.height);
  const int64_t capacity = (rows - 1) * c.stride[0] + row_axis.last_tap() + 1;
  const int64_t row_bytes = channels.bytes_per_plane(Rows<T>::size(1, columns, capacity) * sizeof(float)) +
                            Rows<T>::size(1, out.width, rows) * sizeof(float);
  const int64_t plane_sums = channels.in * taps * kLanes;
  const Cut cut(c.batch, out.height, out.channels, row_bytes, plane_sums * sizeof(float), c.threads);
  const int64_t size = cut.planes * plane_sums;
  std::vector<float> shares(size * c.threads, 0.f);
  share_out(cut.count(), int(c.threads), [&](int64_t begin, int64_t end, int thread) {
    std::vector<const float*> pixels(loads * c.kernel[0] * rows), grads(vectors * rows);
    std::vector<const float*> first_plane(c.kernel[0] * rows), first_grads(rows);
    for (int64_t index = begin; index < end; ++index) {
      const auto item = cut.item(index, out.height);
      const int64_t row_planes = channels.row_planes(item.plane, item.planes);
      Rows<T> input_rows(scratch<0>(Rows<T>::size(row_planes, columns, capacity)), input + item.image * in.size(), in,
                         channels.first_channel(item.plane), row_planes, column_axis.first, columns,
                         row_axis.first + item.first_row * c.stride[0], capacity, channels.order_of(item.plane));
      Rows<T> grad_rows(scratch<1>(Rows<T>::size(item.planes, out.width, rows)), grad + item.image * out.size(), out,
                        item.plane * kLanes, item.planes, 0, out.width, item.first_row, rows);
      for (int64_t y = item.first_row; y < item.last_row; y += rows) {
        const int64_t count = std::min(rows, item.last_row - y), first = row_axis.first + y * c.stride[0];
        input_rows.read_until(first + (count - 1) * c.stride[0] + row_axis.last_tap() + 1);
        grad_rows.read_until(y + count);
        for (int64_t k = 0; k < c.kernel[0]; ++k)
          for (int64_t r = 0; r < count; ++r)
            first_plane[k * count + r] = input_rows.row(first + r * c.stride[0] + k * c.dilation[0]);
        for (int64_t r = 0; r < count; ++r) first_grads[r] = grad_rows.row(y + r);
        for (int64_t plane = 0; plane < item.planes; plane += vectors) {
          const int64_t planes = std::min(vectors, item.planes - plane);
          for (int64_t p = 0; p < planes; ++p)
            for (int64_t r = 0; r < count; ++r)
              grads[p * count + r] = first_grads[r] + (plane + p) * Rows<T>::pitch(out.width);
          auto* to = pixels.data();
          for (int64_t i = 0; i < loads; ++i) {
            const int64_t offset = channels.offset(item.plane, item.plane + plane, i, pitch);
            for (int64_t k = 0; k < c.kernel[0] * count; ++k) *to++ = first_plane[k] + offset;
          }
          add(Meeting{planes, count, out.width, grads.data(), pixels.data(),
                      shares.data() + thread * size + (item.plane + plane) * plane_sums});
        }
      }
    }
  });
  for (int64_t channel = 0; channel < c.out_channels; ++channel)
    for (int64_t t = 0; t < channels.in * taps; ++t) {
      float sum = 0;
      for (int64_t thread = 0; thread < c.threads; ++thread)
        sum += shares[thread * size + channel / kLanes * plane_sums + t * kLanes + channel % kLanes];
      assign(grad_weight[channel * channels.in * taps + t], sum);
    }
}

}  // namespace convscope

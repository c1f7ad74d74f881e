// Channels-last maps as a matrix whose columns belong to channels, for what is done to every element alike. A row holds
// so many pixels that it is made of whole vectors, even where the channels are not; the pixels that are left over at the
// end are one short row. Rows are taken in blocks and those in chunks that do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "threads.h"
#include "vector.h"
#include "written.h"

namespace convscope {

struct Columns {
  int64_t pixels, channels, width, rows, short_row, block_rows, blocks, chunks;

  Columns(int64_t pixels, int64_t channels) : pixels(pixels), channels(channels) {
    // Wide enough that the next row's addition to a column's sum does not wait for this row's.
    const int64_t whole = std::lcm(channels, int64_t(kLanes));
    width = (std::max<int64_t>(whole, 256) + whole - 1) / whole * whole;
    rows = pixels * channels / width;
    short_row = pixels * channels % width;
    block_rows = std::clamp<int64_t>(32768 / width, 8, 64);  // few enough to be summed in single precision
    blocks = (rows + block_rows - 1) / block_rows + (short_row > 0);
    chunks = std::clamp<int64_t>(blocks / 4, 1, 64);
  }

  // Calls body(element, column, lanes) for every vector of a block; `lanes` is a constant but for the short row.
  template <class Body>
  void each(int64_t block, Body&& body) const {
    const int64_t first = block * block_rows, last = std::min(rows, first + block_rows), columns = width;
    if (first >= rows) {
      for (int64_t c = 0; c < short_row; c += kLanes)
        body(rows * columns + c, c, int(std::min<int64_t>(kLanes, short_row - c)));
      return;
    }
    for (int64_t row = first; row < last; ++row)
      for (int64_t c = 0; c < columns; c += kLanes)
        body(row * columns + c, c, std::integral_constant<int, kLanes>());
  }

  int64_t first_element(int64_t block) const { return std::min(block * block_rows, rows) * width; }
  int64_t height(int64_t block) const { return std::max<int64_t>(1, std::min(block_rows, rows - block * block_rows)); }
  int64_t columns_in(int64_t block) const { return block * block_rows < rows ? width : short_row; }
  int64_t first_block(int64_t chunk) const { return blocks * chunk / chunks; }

  // Calls body(block) for every block, the last ones first: they are still in the cache after a pass over all.
  template <class Body>
  void backwards(int threads, Body&& body) const {
    share_out(chunks, threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t block = first_block(end) - 1; block >= first_block(begin); --block) body(block);
      finish_streams();
    });
  }

  // Two sums for each channel. body(block, sums) adds those of a block to 2 * width doubles; all orders are fixed.
  template <class Body>
  std::vector<double> sum(int threads, Body&& body) const {
    std::vector<double> parts(chunks * 2 * width, 0.0), sums(2 * channels, 0.0);
    share_out(chunks, threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t chunk = begin; chunk < end; ++chunk)
        for (int64_t block = first_block(chunk); block < first_block(chunk + 1); ++block)
          body(block, parts.data() + chunk * 2 * width);
      finish_streams();
    });
    for (int64_t part = 0; part < chunks * 2; ++part)
      for (int64_t pixel = 0; pixel < width / channels; ++pixel) {
        const double* from = parts.data() + part * width + pixel * channels;
        double* to = sums.data() + part % 2 * channels;
        for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
      }
    return sums;
  }

  // A number for each column, value(channel).
  template <class Value>
  std::vector<float> spread(Value&& value) const {
    std::vector<float> result(width);
    for (int64_t c = 0; c < channels; ++c) result[c] = float(value(c));
    for (int64_t c = channels; c < width; ++c) result[c] = result[c - channels];
    return result;
  }
};

}  // namespace convscope

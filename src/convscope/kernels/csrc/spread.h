// How the input channels of a group are spread over the lanes of a vector of its output channels.
#pragma once

#include <type_traits>
#include <utility>

#include "rows.h"

namespace convscope {

// A vector of outputs reads, one after the other, the input channels of its groups, each lane those of its own group.
// `spread` says how: kLanes broadcasts, as the vector lies in one group; between 1 and kLanes it permutes a vector of
// inputs, as groups of so many channels fill it; 1 loads vectors whose lanes were put in order when the row was read.
struct Channels {
  int64_t in, out;  // of a group
  int spread;
  std::vector<int64_t> order;  // of the input channels in the rows, where they are not read as they lie

  // `total`: output channels of all groups.
  Channels(int64_t in, int64_t out, int64_t total) : in(in), out(out), spread(choose(in, out, total)) {
    if (spread > 1 || in * out == 1) return;
    const int64_t planes = ceil_divide(total, kLanes);
    for (int64_t p = 0; p < planes; ++p)
      for (int64_t i = 0; i < in; ++i)
        for (int64_t channel = p * kLanes; channel < (p + 1) * kLanes; ++channel)
          order.push_back(channel < total ? channel / out * in + i : -1);
  }

  // Loads that a vector of outputs takes at one pixel.
  int64_t loads() const { return spread == 1 || spread == kLanes ? in : 1; }

  // Planes of rows for the output planes [first, first + count): the first of their channels, and how many there are.
  int64_t first_channel(int64_t first) const {
    return spread == kLanes ? first * kLanes / out * in : first * kLanes;
  }
  int64_t row_planes(int64_t first, int64_t count) const {
    if (spread < kLanes) return spread == 1 ? count * in : count;
    return ceil_divide(first_channel(first + count - 1) + in - first_channel(first), kLanes);
  }
  // Bytes of rows that a plane of outputs needs, about, when a plane of them has so many.
  int64_t bytes_per_plane(int64_t bytes) const {
    return spread == kLanes ? ceil_divide(bytes * in, out) : bytes * row_planes(0, 1);
  }
  const int64_t* order_of(int64_t first) const { return order.empty() ? nullptr : order.data() + first * in * kLanes; }

  // Where in those planes the load `index` of output plane `plane` begins.
  int64_t offset(int64_t first, int64_t plane, int64_t index, int64_t pitch) const {
    if (spread < kLanes) return ((plane - first) * loads() + index) * pitch;
    const int64_t channel = first_channel(plane) + index - first_channel(first);
    return channel / kLanes * pitch + channel % kLanes;
  }

 private:
  static int choose(int64_t in, int64_t out, int64_t total) {
    if (in * out == 1) return 1;
    if (out % kLanes == 0 || out == total) return kLanes;
    return in == out && in >= 4 && kLanes % in == 0 ? int(in) : 1;
  }
};

// Calls body(constant) with the spread as a compile-time constant.
template <class Body>
void with_spread(int spread, Body&& body) {
  if (spread == kLanes) return body(std::integral_constant<int, kLanes>());
  if constexpr (kLanes > 8)
    if (spread == 8) return body(std::integral_constant<int, 8>());
  if constexpr (kLanes > 4)
    if (spread == 4) return body(std::integral_constant<int, 4>());
  body(std::integral_constant<int, 1>());
}

template <int kSpread, int kChannel, int... kLane>
CONVSCOPE_INLINE Vector permute(Vector from, std::integer_sequence<int, kLane...>) {
  return Vector{from[kLane / kSpread * kSpread + kChannel]...};
}

// One input channel of a load for every lane.
template <int kSpread, int kChannel>
CONVSCOPE_INLINE Vector fetch(const float* from) {
  if constexpr (kSpread == 1) return load(from);
  else if constexpr (kSpread == kLanes) return broadcast(*from);
  else return permute<kSpread, kChannel>(load(from), std::make_integer_sequence<int, kLanes>());
}

// Input channels that one load holds.
template <int kSpread>
constexpr int kHeld = kSpread == kLanes ? 1 : kSpread;

// Calls body(constant) for the channels 0 to kCount - 1.
template <class Body, int... kChannel>
CONVSCOPE_INLINE void each_of(Body&& body, std::integer_sequence<int, kChannel...>) {
  (body(std::integral_constant<int, kChannel>()), ...);
}
template <int kCount, class Body>
CONVSCOPE_INLINE void each(Body&& body) {
  each_of(body, std::make_integer_sequence<int, kCount>());
}

}  // namespace convscope

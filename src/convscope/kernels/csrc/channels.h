// The channels of a pixel, which lie together in memory, a vector at a time.
#pragma once

#include <cstdint>
#include <type_traits>

#include "vector.h"

namespace convscope {

// Calls body(channel, lanes) for all vectors from first to last; `lanes` is a constant but for the last vector.
template <class Body>
CONVSCOPE_INLINE void for_channels(int64_t first, int64_t last, Body&& body) {
  int64_t c = first;
  for (; c + kLanes <= last; c += kLanes) body(c, std::integral_constant<int, kLanes>());
  if (c < last) body(c, int(last - c));
}

// The vector with zeros beyond the lanes that are there.
inline Vector first_lanes(Vector x, std::integral_constant<int, kLanes>) { return x; }
inline Vector first_lanes(Vector x, int count) {
  for (int i = count; i < kLanes; ++i) x[i] = 0.f;
  return x;
}

}  // namespace convscope

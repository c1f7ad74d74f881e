// Results that are written once, from the first to the last.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vector.h"

namespace convscope {

// Maps that are written once: past the caches if they are too large to be found there again.
template <class T>
class Written {
 public:
  // `step`: the vectors begin at its multiples and whole vectors from there.
  Written(T* data, int64_t size, int64_t step = kLanes)
      : data_(data),
        streams_(size * sizeof(T) >= kLarge && step % kLanes == 0 && reinterpret_cast<uintptr_t>(data) % 64 == 0) {}

  void put(int64_t element, Vector value, int lanes) const {
    if (streams_ && lanes == kLanes) stream(data_ + element, value);
    else store_first(data_ + element, value, lanes);
  }

 private:
  static constexpr size_t kLarge = 16 << 20;  // bytes
  T* data_;
  bool streams_;
};

}  // namespace convscope

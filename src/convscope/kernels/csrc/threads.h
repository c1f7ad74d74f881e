// Loops shared out among the threads of torch's own OpenMP runtime: the library leaves OpenMP's symbols undefined and
// finds the runtime that torch has loaded. A second pool on the same cores costs ten times the time.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace convscope {

// Calls body(begin, end, thread) once a thread, over consecutive shares of [0, count) that depend on `threads` alone.
template <class Body>
void share_out(int64_t count, int threads, Body&& body) {
  threads = int(std::max<int64_t>(1, std::min<int64_t>(threads, count)));
  if (threads == 1) {
    body(int64_t(0), count, 0);
    return;
  }
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
  {
    // A team smaller than asked for (nested, or limited) still does every share.
    for (int share = omp_get_thread_num(); share < threads; share += omp_get_num_threads())
      body(count * share / threads, count * (share + 1) / threads, share);
  }
#else
  for (int share = 0; share < threads; ++share)
    body(count * share / threads, count * (share + 1) / threads, share);
#endif
}

// Floats aligned to a cache line, kept by each thread from call to call; `slot` tells apart those in use at once.
template <int slot>
inline float* scratch(int64_t count) {
  struct Block {
    float* data = nullptr;
    int64_t size = 0;
    ~Block() { std::free(data); }
  };
  static thread_local Block block;
  if (block.size < count) {
    std::free(block.data);
    block.size = 0;
    block.data = static_cast<float*>(std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64));
    if (!block.data) std::abort();
    block.size = count;
  }
  return block.data;
}

// Floats aligned to a cache line, given back at the end of a call: for what is too large to be kept.
class Buffer {
 public:
  explicit Buffer(int64_t count)
      : data_(static_cast<float*>(std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64))) {
    if (!data_) std::abort();
  }
  Buffer(Buffer&& other) : data_(other.data_) { other.data_ = nullptr; }
  ~Buffer() { std::free(data_); }
  float* data() const { return data_; }

 private:
  float* data_;
};

}  // namespace convscope

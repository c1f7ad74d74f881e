// GELU of numbers that lie together in memory, and a gradient taken back through it; only the input is read for that.
#include "abi.h"
#include "functions.h"
#include "threads.h"
#include "written.h"

namespace convscope {
namespace {

constexpr int64_t kBlock = 4096;  // elements; a multiple of all vectors

// Writes value(element, lanes) of every vector.
template <class T, class Value>
void write_all(int64_t count, T* output, int threads, Value&& value) {
  const Written<T> to(output, count);
  share_out((count + kBlock - 1) / kBlock, threads, [&](int64_t begin, int64_t end, int) {
    const int64_t last = std::min(count, end * kBlock);
    int64_t i = begin * kBlock;
    for (; i + kLanes <= last; i += kLanes) {
      const std::integral_constant<int, kLanes> lanes;
      to.put(i, value(i, lanes), lanes);
    }
    if (i < last) to.put(i, value(i, int(last - i)), int(last - i));
    finish_streams();
  });
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_gelu_forward(int type, int64_t count, const void* input, void* output, int threads) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    const T* from = static_cast<const T*>(input);
    write_all(count, static_cast<T*>(output), threads,
              [&](int64_t i, auto lanes) { return Gelu::value(load_first(from + i, lanes)); });
  });
}

CONVSCOPE_API void convscope_gelu_backward(int type, int64_t count, const void* grad, const void* input,
                                           void* grad_input, int threads) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    const T* from = static_cast<const T*>(input);
    const T* gradient = static_cast<const T*>(grad);
    write_all(count, static_cast<T*>(grad_input), threads, [&](int64_t i, auto lanes) {
      return Gelu::back(load_first(gradient + i, lanes), load_first(from + i, lanes));
    });
  });
}

// The CPU: which of the libraries it runs (asked of the baseline library, which runs everywhere), and its denormals.
#include "abi.h"
#include "threads.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

CONVSCOPE_API const char* convscope_instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) return "avx512_bf16";
  if (avx512) return "avx512";
  if (avx2) return "avx2";
#endif
  return "baseline";
}

// Lets every thread of the pool take numbers below 1e-38 for zero, as `torch.set_flush_denormal` does for one thread.
CONVSCOPE_API void convscope_flush_denormals(int threads) {
#if defined(__x86_64__)
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x40;
  convscope::share_out(threads, threads, [](int64_t, int64_t, int) {
    _mm_setcsr(_mm_getcsr() | kFlushToZero | kDenormalsAreZero);
  });
#else
  (void)threads;
#endif
}

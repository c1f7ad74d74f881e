// One vector of floats, as wide as the instruction set this file is compiled for, in the compiler's portable vector
// types: `a * b + c` becomes one fused multiply-add. Data in memory is float or bfloat16; arithmetic is always float.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <immintrin.h>
#endif

// For what keeps vectors in registers across calls: a function left out of line would pass them through memory.
#define CONVSCOPE_INLINE inline __attribute__((always_inline))

namespace convscope {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;  // SSE2, NEON
#endif

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t Mask __attribute__((vector_size(kLanes * sizeof(int32_t))));
typedef uint32_t Bits __attribute__((vector_size(kLanes * sizeof(uint32_t))));
typedef uint16_t HalfBits __attribute__((vector_size(kLanes * sizeof(uint16_t))));

struct bfloat16 {
  uint16_t bits;
};

inline Vector broadcast(float value) { return value - Vector{}; }

inline float to_float(float value) { return value; }
inline float to_float(bfloat16 value) {
  uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline void assign(float& place, float value) { place = value; }
// Rounds to nearest, ties to even; a NaN stays one.
inline void assign(bfloat16& place, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  place.bits = value != value ? 0x7fc0 : uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline Vector load(const float* from) {
  Vector result;
  std::memcpy(&result, from, sizeof result);
  return result;
}
inline Vector load(const bfloat16* from) {
  HalfBits half;
  std::memcpy(&half, from, sizeof half);
  return Vector(__builtin_convertvector(half, Bits) << 16);
}

inline void store(float* to, Vector value) { std::memcpy(to, &value, sizeof value); }
inline void store(bfloat16* to, Vector value) {
#ifdef __AVX512BF16__
  __m256bh half = _mm512_cvtneps_pbh(__m512(value));
  std::memcpy(to, &half, sizeof half);
#else
  Bits bits = Bits(value);
  Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  Bits result = value != value ? Bits{} + 0x7fc0 : rounded;
  HalfBits half = __builtin_convertvector(result, HalfBits);
  std::memcpy(to, &half, sizeof half);
#endif
}

// The first `count` lanes; the others are zero, and are not written.
template <class T>
inline Vector load_first(const T* from, int count) {
  if (count >= kLanes) return load(from);
  float lanes[kLanes] = {};
  for (int i = 0; i < count; ++i) lanes[i] = to_float(from[i]);
  return load(lanes);
}
template <class T>
inline void store_first(T* to, Vector value, int count) {
  if (count >= kLanes) return store(to, value);
  for (int i = 0; i < count; ++i) assign(to[i], value[i]);
}

// Stores past the caches where the processor can: lines that are written whole need not be read before. `to` is aligned
// to what is written; `finish_streams` comes before others may read it.
inline void stream(float* to, Vector value) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, __m512(value));
#elif defined(__AVX__)
  _mm256_stream_ps(to, __m256(value));
#elif defined(__SSE2__)
  _mm_stream_ps(to, __m128(value));
#else
  store(to, value);
#endif
}
inline void stream(bfloat16* to, Vector value) {
  bfloat16 half[kLanes];
  store(half, value);
#if defined(__AVX512F__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(half)));
#elif defined(__AVX__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), _mm_loadu_si128(reinterpret_cast<const __m128i*>(half)));
#else
  std::memcpy(to, half, sizeof half);
#endif
}
inline void finish_streams() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

}  // namespace convscope

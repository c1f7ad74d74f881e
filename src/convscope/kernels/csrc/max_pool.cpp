// Max pooling of channels-last maps. Which tap of the window won is kept in a byte an output; going back, each input pixel
// adds up the gradients of those outputs that chose it, always in the same order.
#include <vector>

#include "abi.h"
#include "channels.h"
#include "threads.h"
#include "written.h"

namespace convscope {

// Laid out as `Pooling` in max_pool.py.
struct Pooling {
  int64_t batch, channels, in_size[2], out_size[2];
  int64_t kernel[2], stride[2], padding[2], dilation[2];
  int64_t threads;
};

namespace {

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

// With instructions by name: GCC 12 takes these conversions apart into single bytes, ten times as slow.
inline Mask widen(const uint8_t* from) {
#if defined(__AVX512F__)
  return Mask(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#elif defined(__AVX2__)
  return Mask(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#else
  Bytes bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, Mask);
#endif
}
inline void narrow(uint8_t* to, Mask value) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(__m512i(value)));
#elif defined(__AVX2__)
  const __m256i all = __m256i(value);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
#else
  const Bytes bytes = __builtin_convertvector(value, Bytes);
  std::memcpy(to, &bytes, sizeof bytes);
#endif
}

inline Mask load_bytes(const uint8_t* from, int count) {
  if (count >= kLanes) return widen(from);
  uint8_t bytes[kLanes] = {};
  std::memcpy(bytes, from, count);
  return widen(bytes);
}
inline void store_bytes(uint8_t* to, Mask value, int count) {
  if (count >= kLanes) return narrow(to, value);
  uint8_t bytes[kLanes];
  narrow(bytes, value);
  std::memcpy(to, bytes, count);
}

// One end of a connection along an axis: the other end's position, and the tap between them.
struct Link {
  int64_t position, tap;
};
using Links = std::vector<std::vector<Link>>;

// For each output the inputs under its window, or for each input the outputs whose windows hold it.
Links link(const Pooling& p, int axis, bool from_output) {
  Links links(from_output ? p.out_size[axis] : p.in_size[axis]);
  for (int64_t output = 0; output < p.out_size[axis]; ++output)
    for (int64_t tap = 0; tap < p.kernel[axis]; ++tap) {
      const int64_t input = output * p.stride[axis] - p.padding[axis] + tap * p.dilation[axis];
      if (input < 0 || input >= p.in_size[axis]) continue;
      if (from_output) links[output].push_back({input, tap});
      else links[input].push_back({output, tap});
    }
  return links;
}

// A pixel at the other end of a window: how far its elements are from the image's first, and its tap.
struct Place {
  int64_t offset;
  int32_t tap;
};

// Calls body(pixel, places, image) for every pixel of one end; `width` is that of the other end.
template <class Body>
void for_pixels(const Pooling& p, const Links& rows, const Links& columns, int64_t width, Body&& body) {
  const int64_t count = columns.size(), height = rows.size();
  share_out(p.batch * height, int(p.threads), [&](int64_t begin, int64_t end, int) {
    std::vector<Place> places;
    for (int64_t row = begin; row < end; ++row)
      for (int64_t column = 0; column < count; ++column) {
        places.clear();
        for (const Link& y : rows[row % height])
          for (const Link& x : columns[column])
            places.push_back({(y.position * width + x.position) * p.channels, int32_t(y.tap * p.kernel[1] + x.tap)});
        body(row * count + column, places, row / height);
      }
    finish_streams();
  });
}

template <class T>
void forward(const Pooling& p, const T* input, T* output, uint8_t* taps) {
  const int64_t channels = p.channels, in_image = p.in_size[0] * p.in_size[1] * channels;
  const Written<T> to(output, p.batch * p.out_size[0] * p.out_size[1] * channels, channels);
  for_pixels(p, link(p, 0, true), link(p, 1, true), p.in_size[1], [&](int64_t pixel, const auto& places, int64_t image) {
    const Place* const first = places.data();
    const Place* const last = first + places.size();
    for_channels(0, channels, [&](int64_t c, auto lanes) {
      const T* from = input + image * in_image + c;
      Vector best = broadcast(-__builtin_inff());
      Mask winner = Mask{} + (first < last ? first->tap : 0);
      for (const Place* place = first; place < last; ++place) {
        const Vector value = load_first(from + place->offset, lanes);
        const Mask wins = (value > best) | (value != value);  // the last NaN, once there is one
        best = wins ? value : best;
        winner = wins ? Mask{} + place->tap : winner;
      }
      to.put(pixel * channels + c, best, lanes);
      store_bytes(taps + pixel * channels + c, winner, lanes);
    });
  });
}

template <class T>
void backward(const Pooling& p, const T* grad, const uint8_t* taps, T* grad_input) {
  const int64_t channels = p.channels, out_image = p.out_size[0] * p.out_size[1] * channels;
  const Written<T> to(grad_input, p.batch * p.in_size[0] * p.in_size[1] * channels, channels);
  for_pixels(p, link(p, 0, false), link(p, 1, false), p.out_size[1],
             [&](int64_t pixel, const auto& places, int64_t image) {
    const Place* const first = places.data();
    const Place* const last = first + places.size();
    for_channels(0, channels, [&](int64_t c, auto lanes) {
      const int64_t from = image * out_image + c;
      Vector sum{};
      for (const Place* place = first; place < last; ++place) {
        const Mask chosen = load_bytes(taps + from + place->offset, lanes) == place->tap;
        sum += Vector(chosen & Mask(load_first(grad + from + place->offset, lanes)));
      }
      to.put(pixel * channels + c, sum, lanes);
    });
  });
}

}  // namespace
}  // namespace convscope

using namespace convscope;

CONVSCOPE_API void convscope_max_pool_forward(const Pooling* p, int type, const void* input, void* output,
                                              uint8_t* taps) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    forward(*p, static_cast<const T*>(input), static_cast<T*>(output), taps);
  });
}

CONVSCOPE_API void convscope_max_pool_backward(const Pooling* p, int type, const void* grad, const uint8_t* taps,
                                               void* grad_input) {
  with_type(type, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    backward(*p, static_cast<const T*>(grad), taps, static_cast<T*>(grad_input));
  });
}

// Activations and what they are made of, on vectors. A NaN goes through all of them.
#pragma once

#include "vector.h"

namespace convscope {

// e^x within 2 units in the last place for x from -87 to 88. Cephes' expf (Moshier, netlib.org/cephes, single/expf.c):
// x = n ln 2 + r, ln 2 in two parts, a polynomial of degree 5 for (e^r - 1 - r) / r^2.
inline Vector exponential_inside(Vector x) {
  const float to_integer = 12582912.f;  // 1.5 * 2^23: adding it leaves an integer in the low bits
  const Vector shifted = x * 1.44269504088896341f + to_integer;
  const Vector n = shifted - to_integer;
  const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.f;
  const Bits power = (Bits(shifted) << 23) + 0x3f800000u;  // 2^n, the bits above n being shifted out
  return p * Vector(power);
}

// The same, beyond held at the ends.
inline Vector exponential(Vector x) {
  x = x < -87.f ? Vector{} - 87.f : x;
  x = x > 88.f ? Vector{} + 88.f : x;
  return exponential_inside(x);
}

inline Vector sigmoid(Vector x) { return 1.f / (1.f + exponential(-x)); }

// An activation: its value at x, and a gradient taken back through it. Where `kInvertible`, the value tells the same
// about the slope as x does.
struct Identity {
  static constexpr bool kInvertible = true;
  static Vector value(Vector x) { return x; }
  static Vector back(Vector grad, Vector) { return grad; }
};
struct Relu {
  static constexpr bool kInvertible = true;
  static Vector value(Vector x) { return x < 0.f ? Vector{} : x; }
  static Vector back(Vector grad, Vector x) { return x <= 0.f ? Vector{} : grad; }
};
struct Relu6 {
  static constexpr bool kInvertible = true;
  static Vector value(Vector x) {
    x = x < 0.f ? Vector{} : x;
    return x > 6.f ? Vector{} + 6.f : x;
  }
  static Vector back(Vector grad, Vector x) {
    grad = x <= 0.f ? Vector{} : grad;
    return x >= 6.f ? Vector{} : grad;
  }
};
struct Silu {
  static constexpr bool kInvertible = false;
  static Vector value(Vector x) { return x * sigmoid(x); }
  static Vector back(Vector grad, Vector x) {
    const Vector s = sigmoid(x);
    return grad * (s + x * s * (1.f - s));
  }
};
struct Hardswish {
  static constexpr bool kInvertible = false;
  static Vector value(Vector x) {
    const Vector high = x >= 3.f ? x : x * (x + 3.f) * (1.f / 6.f);
    return x <= -3.f ? Vector{} : high;
  }
  static Vector back(Vector grad, Vector x) {
    const Vector high = x >= 3.f ? grad : grad * (x * (1.f / 3.f) + 0.5f);
    return x <= -3.f ? Vector{} : high;
  }
};
struct Gelu {
  static constexpr bool kInvertible = false;
  static Vector value(Vector x) { return x * Normal(x).below; }
  static Vector back(Vector grad, Vector x) {
    const Normal normal(x);
    return grad * (normal.below + x * normal.density);
  }

 private:
  // The standard normal distribution: its density at x, and its integral from below to x, within 1e-6 of itself above
  // -5, within 1e-11 of the truth below. The integral beyond a is e^(-a^2 / 2) times a function that is a polynomial in
  // (a - 3) / (a + 3), divided by a + 3; its coefficients are ours, fitted for the least largest relative error, 4e-8.
  struct Normal {
    Vector density, below;

    explicit Normal(Vector x) {
      const Vector size = Vector(Bits(x) & 0x7fffffffu);
      const Vector a = size > 13.f ? Vector{} + 13.f : size;
      const Vector fall = exponential_inside(a * a * -0.5f);
      const Vector e = size > 13.f ? Vector{} : fall;
      const Vector t = 1.f / (a + 3.f);
      const Vector u = (a - 3.f) * t;
      Vector p = u * -2.706332016e-4f - 9.090296808e-4f;
      p = p * u + 1.077120192e-3f;
      p = p * u + 6.927897222e-3f;
      p = p * u - 1.047966164e-2f;
      p = p * u - 4.725690559e-2f;
      p = p * u + 2.300192863e-1f;
      p = p * u - 5.093322396e-1f;
      p = p * u + 7.290836573e-1f;
      const Vector beyond = e * t * p;
      density = e * 0.3989422804f;
      below = x < 0.f ? beyond : 1.f - beyond;
    }
  };
};

// Calls body(activation) with that of a number; the numbers are the places in ACTIVATIONS of activations.py.
template <class Body>
void with_activation(int activation, Body&& body) {
  switch (activation) {
    case 1: return body(Relu());
    case 2: return body(Relu6());
    case 3: return body(Silu());
    case 4: return body(Hardswish());
    case 5: return body(Gelu());
    default: return body(Identity());
  }
}

}  // namespace convscope

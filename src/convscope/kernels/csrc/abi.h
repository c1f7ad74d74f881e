// The C ABI: what every exported function is declared with, and how its type number becomes a type.
#pragma once

#include "vector.h"

#define CONVSCOPE_API extern "C" __attribute__((visibility("default")))

namespace convscope {

// Calls body(pointer) with a null pointer of the element type: 0 is float, 1 is bfloat16.
template <class Body>
void with_type(int type, Body&& body) {
  if (type == 1) body(static_cast<bfloat16*>(nullptr));
  else body(static_cast<float*>(nullptr));
}

}  // namespace convscope

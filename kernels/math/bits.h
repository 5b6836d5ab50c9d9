// The bits of a number, without headers that hold functions of their own.
#pragma once

#include <cstdint>

#include "kernels/math/portable.h"

namespace galleon::math {

GALLEON_FORMULA uint32_t bits_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  return bits;
}

GALLEON_FORMULA float from_bits(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}

}  // namespace galleon::math

// bfloat16: the upper half of an fp32 number.
#pragma once

#include "kernels/math/bits.h"

namespace galleon {

struct BFloat16 {
  uint16_t bits = 0;
};

namespace math {

GALLEON_FORMULA float to_float(BFloat16 x) {
  return from_bits(static_cast<uint32_t>(x.bits) << 16);
}

// To the nearest, ties to even; NaN stays a (quiet) NaN.
GALLEON_FORMULA BFloat16 to_bfloat16(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40U;
  const bool is_nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return {static_cast<uint16_t>(is_nan ? quiet : rounded)};
}

// Up with the probability of the distance to the lower neighbour: `noise` is 16 random bits. The mean of the result is
// x; a number that bfloat16 holds, infinities and NaN stay what they are.
GALLEON_FORMULA BFloat16 to_bfloat16_stochastic(float x, uint32_t noise) {
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + (noise & 0xFFFFU)) >> 16;
  const bool finite = (bits & 0x7F800000U) != 0x7F800000U;
  const uint32_t quiet = (bits >> 16) | ((bits & 0x7FFFFFFFU) > 0x7F800000U ? 0x40U : 0U);
  return {static_cast<uint16_t>(finite ? rounded : quiet)};
}

// Loops over either type read and write through these.
GALLEON_FORMULA float load(const float& x) {
  return x;
}
GALLEON_FORMULA float load(const BFloat16& x) {
  return to_float(x);
}
GALLEON_FORMULA void store(float& to, float x) {
  to = x;
}
GALLEON_FORMULA void store(BFloat16& to, float x) {
  to = to_bfloat16(x);
}

}  // namespace math
}  // namespace galleon

// A weight of 24 bits: a bf16 number, and the eight bits behind it as a signed remainder in units of 1/256 of the
// distance to its neighbour (Gonzalez Ortiz et al. 2026, "FlashOptim", §3, split masters so; here the two halves are
// the upper 24 bits of one fp32 number, so that every remainder is of use). The bf16 half is the nearest to the whole.
#pragma once

#include "kernels/math/bfloat16.h"
#include "kernels/math/bits.h"

namespace galleon::math {

// remainder: of −128…127, as a byte.
GALLEON_FORMULA float joined(BFloat16 half, uint8_t remainder) {
  const uint32_t behind = (static_cast<uint32_t>(remainder) ^ 0x80U) - 0x80U;  // its sign in all bits above
  return from_bits((static_cast<uint32_t>(half.bits) << 16) + (behind << 8));
}

// The nearest to x of the weights of 24 bits, ties to even: within 2⁻¹⁶ of it, relatively, where numbers are normal.
// What is not finite has the remainder 0, and what is too large for bf16 becomes infinite in its half.
GALLEON_FORMULA void split(float x, BFloat16& half, uint8_t& remainder) {
  const uint32_t bits = bits_of(x);
  const bool finite = (bits & 0x7F800000U) != 0x7F800000U;
  const uint32_t nearest = (bits + 0x7FU + ((bits >> 8) & 1U)) & 0xFFFFFF00U;
  const uint32_t upper = (nearest + 0x8000U) >> 16;
  const uint32_t behind = (nearest - (upper << 16)) >> 8;
  half.bits = static_cast<uint16_t>(finite ? upper : to_bfloat16(x).bits);
  remainder = static_cast<uint8_t>(finite ? behind : 0U);
}

}  // namespace galleon::math

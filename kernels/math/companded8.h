// Companded 8-bit codes of moments (Gonzalez Ortiz et al. 2026, "FlashOptim: Optimizers for Memory Efficient
// Training"): a group of 32 numbers is divided by its largest magnitude and bent before it is cut into equal steps, so
// that steps are narrow where numbers are many. First moments by the softsign, z = 2x / (1 + |x|), in −127…127; second
// ones by the square root, in 0…255.
//
// Ours: the first moment of a number without a gradient shrinks in Adam's update, by a code where the nearest one would
// leave it where it was: that of nine tenths of a small number is that of the whole, and what gets no gradient any more
// would move for ever in a group that others keep alive. Codes of second moments other than 0 are 1 at least, so that
// no update is divided by ε alone. Scales have six bits of exponent and ten of mantissa, where half-precision numbers
// have a sign that no scale needs. Ten bits are what the decay of a second moment with β₂ = 0.999 needs to be seen in
// its scale: eight would round it away.
#pragma once

#include "kernels/math/absmax.h"
#include "kernels/math/bits.h"
#include "kernels/math/portable.h"

namespace galleon::math {

inline constexpr int kCompandedGroup = 32;
inline constexpr int kCompandedZero = 127;  // code of a first moment of 0; 0 that of a second one

// Scales: 0 is 0, 65535 infinity, and c between them the fp32 number with the bits (c + this)·2¹³: from 2⁻⁴⁷ to 2¹⁷.
inline constexpr int kScaleBase = 80 << 10;
inline constexpr int kScaleInfinity = 65535;

// The nearest scale to x ≥ 0, ties to even; what is not 0 does not become 0.
GALLEON_FORMULA uint16_t scale16(float x) {
  const uint32_t bits = bits_of(x);
  int code = static_cast<int>((bits + 0xFFFU + ((bits >> 13) & 1U)) >> 13) - kScaleBase;
  code = code > 1 ? code : 1;
  code = code < kScaleInfinity ? code : kScaleInfinity;
  return static_cast<uint16_t>(x > 0.0F ? code : 0);
}
GALLEON_FORMULA float scale16_value(uint16_t code) {
  const uint32_t bits = (static_cast<uint32_t>(code) + static_cast<uint32_t>(kScaleBase)) << 13;
  const float some = code == kScaleInfinity ? from_bits(0x7F800000U) : from_bits(bits);
  return code == 0 ? 0.0F : some;
}

// What a number of a group is multiplied with before it is coded.
GALLEON_FORMULA float per_scale(float scale) {
  return scale > 0.0F ? 1.0F / scale : 0.0F;
}

// per_scale: of its group's scale. 2·127·|x| / (1 + |x|), which is 127 at 1.
GALLEON_FORMULA int softsign_code(float moment, float per_scale) {
  const float x = moment * per_scale;
  float bent = 254.0F * x / (1.0F + __builtin_fabsf(x));
  bent = bent < 127.0F ? bent : 127.0F;
  bent = bent > -127.0F ? bent : -127.0F;
  return static_cast<int>(bent + __builtin_copysignf(0.5F, bent)) + kCompandedZero;
}
// z / (2 − |z|) of z = code/127, times the scale.
GALLEON_FORMULA float softsign_value(int code, float scale) {
  const float z = static_cast<float>(code - kCompandedZero);
  return z / (254.0F - __builtin_fabsf(z)) * scale;
}

// The code, or the next towards 0 where its magnitude is above the limit.
GALLEON_FORMULA int softsign_code_within(int code, float scale, float limit) {
  const int back = (code < kCompandedZero ? 1 : 0) - (code > kCompandedZero ? 1 : 0);
  return __builtin_fabsf(softsign_value(code, scale)) > limit ? code + back : code;
}
// Of a first moment before and after an update: half-way between them where there was no gradient, else none.
GALLEON_FORMULA float shrinking_limit(float gradient, float before, float after) {
  const float between = 0.5F * (__builtin_fabsf(before) + __builtin_fabsf(after));
  return gradient == 0.0F ? between : from_bits(0x7F800000U);
}

// root: of the second moment.
GALLEON_FORMULA int root_code(float root, float per_scale) {
  float code = round_to_even(255.0F * (root * per_scale));
  code = code < 255.0F ? code : 255.0F;
  code = code > 1.0F ? code : 1.0F;
  return root > 0.0F ? static_cast<int>(code) : 0;
}
// The second moment.
GALLEON_FORMULA float root_value(int code, float scale) {
  const float root = static_cast<float>(code) * (scale * (1.0F / 255.0F));
  return root * root;
}

}  // namespace galleon::math

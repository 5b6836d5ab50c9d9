// exp and log in fp32 as polynomials, so that loops around them vectorise and every device computes the same thing.
#pragma once

#include "kernels/math/bits.h"

namespace galleon::math {

inline constexpr float kLog2e = 1.44269504F;
inline constexpr float kLn2High = 0.693359375F;  // 9 bits, so that n·kLn2High is exact
inline constexpr float kLn2Low = -2.12194440e-4F;
inline constexpr float kRound = 12582912.0F;  // 1.5·2^23: adding it rounds to an integer

// e^x within 2 ulp. 0 below -87.3 (where the result would not be a normal number), infinity above 88.7; NaN stays NaN.
GALLEON_FORMULA float exponential(float x) {
  const float clamped = x > 89.0F ? 89.0F : (x < -87.3F ? -87.3F : x);
  const float shifted = clamped * kLog2e + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  // Minimax on |r| ≤ ln2/2 (the classic single-precision coefficients of Cephes).
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const float value = p * r * r + r + 1.0F;
  // n = 128 does not fit an exponent, so it is applied in two halves. The integer is in the low bits of `shifted`.
  const int32_t exponent = static_cast<int32_t>(bits_of(shifted) - bits_of(kRound));
  const int32_t half = exponent >> 1;
  const float first = from_bits(static_cast<uint32_t>(half + 127) << 23);
  const float second = from_bits(static_cast<uint32_t>(exponent - half + 127) << 23);
  const float scaled = value * first * second;
  return x < -87.3F ? 0.0F : scaled;
}

// The same for x ≤ 0 (or above it by a rounding error), as in a softmax: half the work at the ends of the range.
GALLEON_FORMULA float exponential_of_negative(float x) {
  const float clamped = x < -87.3F ? -87.3F : x;
  const float shifted = clamped * kLog2e + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const float value = p * r * r + r + 1.0F;
  // Shifting keeps the low bits, which hold n; -126 ≤ n ≤ 0 fits an exponent.
  const float scaled = value * from_bits((bits_of(shifted) << 23) + 0x3f800000U);
  return x < -87.3F ? 0.0F : scaled;
}

// ln x for normal x > 0, within 2 ulp away from 1 and 1e-7 absolute near it.
GALLEON_FORMULA float logarithm(float x) {
  // x = 2^e·m with m in [sqrt(1/2), sqrt(2)).
  const uint32_t offset = bits_of(x) - 0x3f3504f3U;
  const int32_t exponent = static_cast<int32_t>(offset) >> 23;
  const float m = from_bits((offset & 0x007fffffU) + 0x3f3504f3U);
  // ln m = 2·artanh(s), s = (m−1)/(m+1), |s| ≤ 0.172.
  const float s = (m - 1.0F) / (m + 1.0F);
  const float s2 = s * s;
  const float series = 2.0F + s2 * (0.666666667F + s2 * (0.4F + s2 * (0.285714286F + s2 * 0.222222222F)));
  const float e = static_cast<float>(exponent);
  return e * kLn2High + (s * series + e * kLn2Low);
}

}  // namespace galleon::math

// Counter-based random numbers: Philox 4×32-10 (Salmon et al. 2011) and normal numbers by Box–Muller. Only operations
// with one correct rounding are used, so every device gives the same bits if products and sums are not fused.
#pragma once

#include "kernels/math/exponential.h"

namespace galleon::math {

struct Philox {
  uint32_t word[4];
};

GALLEON_FORMULA Philox philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t c0 = static_cast<uint32_t>(counter_low);
  uint32_t c1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high);
  uint32_t c3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53U} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57U} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {{c0, c1, c2, c3}};
}

// Two independent standard normal numbers from two random words.
GALLEON_FORMULA void box_muller(uint32_t a, uint32_t b, float& x, float& y) {
  // u in (0, 1], the angle a quarter turn times t in [0, 4).
  const float u = (static_cast<float>(static_cast<int32_t>(a >> 1)) + 0.5F) * 4.65661287e-10F;  // 2^-31
  const float radius = __builtin_sqrtf(-2.0F * logarithm(u));
  const float t = static_cast<float>(static_cast<int32_t>(b >> 8)) * 2.38418579e-7F;  // 2^-22
  const int32_t quarter = static_cast<int32_t>(t + 0.5F);  // NOLINT(bugprone-incorrect-roundings): t ≥ 0
  const float f = t - static_cast<float>(quarter);         // [-1/2, 1/2]
  const float angle = f * 1.57079633F;
  const float z = angle * angle;
  const float sine =
      angle + angle * z * (-1.66666667e-1F + z * (8.33333333e-3F + z * (-1.98412698e-4F + z * 2.75573192e-6F)));
  const float cosine =
      1.0F + z * (-0.5F + z * (4.16666667e-2F + z * (-1.38888889e-3F + z * (2.48015873e-5F + z * -2.75573192e-7F))));
  const bool odd = (quarter & 1) != 0;
  const float c = odd ? sine : cosine;
  const float s = odd ? cosine : sine;
  const float c_sign = ((quarter + 1) & 2) != 0 ? -1.0F : 1.0F;
  const float s_sign = (quarter & 2) != 0 ? -1.0F : 1.0F;
  x = radius * c * c_sign;
  y = radius * s * s_sign;
}

}  // namespace galleon::math

// The dynamic 8-bit code of moments (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization", §2.2): seven
// decades below 1, the i-th cut into p·2^i bins of equal width that are coded by their centres, and the numbers 0
// and 1. The signed code has p = 1 and the negative centres too (no −1), the unsigned one p = 2. Codes are in the order
// of their values. Blocks are divided by their largest magnitude before they are coded.
#pragma once

#include "kernels/math/portable.h"

namespace galleon::math {

inline constexpr int kDynamicDecades = 7;
inline constexpr int kDynamicZero = 127;  // code of 0 in the signed map; 0 in the unsigned one

// Everything that coding and decoding need, computed by the compiler.
struct Dynamic8 {
  float value[256];  // by code
  float bottom = 0;  // magnitudes up to it are nearest to 0
  float top = 0;     // magnitudes above it are nearest to 1
};

template <bool kSigned>
consteval Dynamic8 make_dynamic8() {
  constexpr double decade[kDynamicDecades] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0};
  Dynamic8 map{};
  int code = kSigned ? kDynamicZero + 1 : 1;
  double last = 0;
  for (int i = 0; i < kDynamicDecades; ++i) {
    const int bins = (kSigned ? 1 : 2) << i;
    for (int k = 0; k < bins; ++k) {
      const auto centre = static_cast<float>(decade[i] * (0.1 + 0.9 * (k + 0.5) / bins));
      if (last == 0.0) map.bottom = static_cast<float>(0.5 * static_cast<double>(centre));
      last = static_cast<double>(centre);
      if (kSigned) map.value[2 * kDynamicZero - code] = -centre;
      map.value[code++] = centre;
    }
  }
  map.value[255] = 1.0F;
  map.top = static_cast<float>(0.5 * (last + 1.0));
  return map;
}

template <bool kSigned>
inline constexpr Dynamic8 kDynamic8 = make_dynamic8<kSigned>();

// The place among the centres of the nearest one to a magnitude x, counted from 0. Arithmetic, not a search, so that
// loops vectorise: products bring x to the highest decade, whose bins are twice as many as those of the next, and one
// more finds the bin. A centre lies in the middle of its bin, so that the edges of bins lie half-way between centres,
// but for the lower end of a decade with p bins: there the last centre below is as near at 0.1 + 0.18/p, 0.2 of the
// first bin.
template <bool kSigned>
GALLEON_FORMULA int nearest_centre(float x) {
  constexpr int least = kSigned ? 1 : 2;
  float bins = static_cast<float>(least << (kDynamicDecades - 1));
  bool low = x < 1e-4F;
  x *= low ? 1e4F : 1.0F;
  bins *= low ? 0.0625F : 1.0F;
  low = x < 1e-2F;
  x *= low ? 1e2F : 1.0F;
  bins *= low ? 0.25F : 1.0F;
  low = x < 1e-1F;
  x *= low ? 10.0F : 1.0F;
  bins *= low ? 0.5F : 1.0F;
  float bin = x * (bins * (1.0F / 0.9F)) - bins * (1.0F / 9.0F);
  bin = bin < bins - 0.5F ? bin : bins - 0.5F;
  const int centre = static_cast<int>(bin + bins) - least - (bin < 0.2F ? 1 : 0);
  return centre > 0 ? centre : 0;
}

// The nearest code to x in [−1, 1] (of a tie, either), but a negative number never becomes 0, so that it keeps its
// sign.
GALLEON_FORMULA int dynamic8_signed(float x) {
  constexpr float top = kDynamic8<true>.top;
  constexpr float bottom = kDynamic8<true>.bottom;
  const float magnitude = x < 0.0F ? -x : x;
  const int centre = nearest_centre<true>(magnitude);
  const int up = magnitude > top ? 255 : magnitude > bottom ? kDynamicZero + 1 + centre : kDynamicZero;
  return x < 0.0F ? kDynamicZero - 1 - centre : up;
}

// The nearest code to x in [0, 1].
GALLEON_FORMULA int dynamic8_unsigned(float x) {
  constexpr float top = kDynamic8<false>.top;
  constexpr float bottom = kDynamic8<false>.bottom;
  const int centre = nearest_centre<false>(x);
  return x > top ? 255 : x > bottom ? 1 + centre : 0;
}

}  // namespace galleon::math

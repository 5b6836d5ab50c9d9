// Linear codes of bases: a block divided by its largest magnitude and rounded to −n…n, n = 127 for 8 bits and 7 for 4.
// Products and one rounding only, so that every machine finds the same codes.
#pragma once

#include "kernels/math/portable.h"

namespace galleon::math {

// To the nearest whole number, ties to even, for |x| < 2^22.
GALLEON_FORMULA float round_to_even(float x) {
  return (x + 12582912.0F) - 12582912.0F;
}

// `per_unit`: n / largest magnitude. Codes are stored with n added.
GALLEON_FORMULA int absmax_code(float x, float per_unit, float n) {
  float code = round_to_even(x * per_unit);
  code = code < n ? code : n;
  code = code > -n ? code : -n;
  return static_cast<int>(code + n);
}

// `unit`: largest magnitude / n.
GALLEON_FORMULA float absmax_value(int code, float unit, int n) {
  return static_cast<float>(code - n) * unit;
}

}  // namespace galleon::math

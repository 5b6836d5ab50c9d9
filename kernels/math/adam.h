// Adam's moment rule as GaLore's reference has it: ε is added to the uncorrected √v.
#pragma once

#include "kernels/math/portable.h"

namespace galleon::math {

// Updates m and v with r and returns m / (√v + ε).
GALLEON_FORMULA float adam(float r, float beta1, float beta2, float epsilon, float& m, float& v) {
  m = beta1 * m + (1.0F - beta1) * r;
  v = beta2 * v + (1.0F - beta2) * (r * r);
  return m / (__builtin_sqrtf(v) + epsilon);
}

}  // namespace galleon::math

// Norms in double precision.
#pragma once

#include "tests/kernels/cases/case.h"

namespace galleon {

inline constexpr float kNormEpsilon = 1e-5F;

// inverse: filled with the inverse roots, where it is given.
Values rms_norm_exactly(const Values& x, const Values& weight, int64_t rows, int64_t n, Values* inverse = nullptr);
Values layer_norm_exactly(const Values& x, const Values& weight, const Values& bias, int64_t rows, int64_t n);

}  // namespace galleon

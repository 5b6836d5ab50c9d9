// Cross-entropy in double precision.
#pragma once

#include "tests/kernels/cases/case.h"

namespace galleon {

// A loss for each row of n logits; 0 where the target is negative.
Values cross_entropy_exactly(const Values& logits, const Values& targets, int64_t n);

}  // namespace galleon

// How many pieces cover a size, and the size that they have together.
#pragma once

#include <cstdint>

#include "kernels/math/portable.h"

namespace galleon {

// size / piece, rounded up. size ≥ 0, piece > 0.
GALLEON_FORMULA constexpr int64_t ceil_div(int64_t size, int64_t piece) {
  return (size + piece - 1) / piece;
}

// The smallest multiple of `multiple` that is not less than `size`.
GALLEON_FORMULA constexpr int64_t round_up(int64_t size, int64_t multiple) {
  return ceil_div(size, multiple) * multiple;
}

}  // namespace galleon

// How the rows of a norm's backward are cut, so that sums over them have one order.
#pragma once

#include "kernels/cpu/loops/loops.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu {

// Rows whose contribution to the gradients of weight and bias is summed together; fixed by shape, so that the result is
// the same for any threads.
GALLEON_FORMULA constexpr int64_t chunk_rows(int64_t rows) {
  return rows <= 64 * 16 ? 16 : ceil_div(rows, 64);
}
GALLEON_FORMULA constexpr int64_t chunks_of(int64_t rows) {
  return ceil_div(rows, chunk_rows(rows));
}

}  // namespace galleon::cpu

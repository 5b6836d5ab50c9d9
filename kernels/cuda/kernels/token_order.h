// The tokens of a batch in the order of their ids.
#pragma once

#include <cstdint>

#include "kernels/cuda/simt.h"
#include "kernels/operation_table.h"

namespace galleon::cuda {

// An id outside the vocabulary, of which the process is told later, is taken for 0 until then.
__device__ __forceinline__ int32_t id_in(int32_t id, int64_t vocabulary) {
  return id >= 0 && id < vocabulary ? id : 0;
}

// The tokens sorted by id, those of one id in their own order; the result lies in `scratch`, of which it takes
// embedding_backward_workspace(tokens) bytes (scratch_sizes.h).
const int32_t* order_by_id(const Execution& on, int64_t tokens, int64_t vocabulary, const int32_t* ids, void* scratch);

}  // namespace galleon::cuda

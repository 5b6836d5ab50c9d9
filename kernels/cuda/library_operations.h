// The operations of the CUDA device that its libraries compute. Their workspace sizes are filled by planning_table.h.
#pragma once

#include "kernels/operation_table.h"

namespace galleon::cuda {

void fill_products(OperationTable& table);
void fill_singular_vectors(OperationTable& table);
void fill_orthonormalize(OperationTable& table);

// orthonormalize as the table has it, for singular vectors that need it.
bool orthonormalize(const Execution& on, int64_t rows, int64_t rank, Matrix<float> y, uint64_t seed, void* scratch);

}  // namespace galleon::cuda

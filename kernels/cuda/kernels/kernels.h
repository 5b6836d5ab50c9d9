// The kernels of the CUDA device, one family to a file: each fills its part of the table.
#pragma once

#include "kernels/operation_table.h"

namespace galleon::cuda {

void fill_bias(OperationTable& table);

// All of them. Products and decompositions are not among them: libraries do these.
void fill_kernels(OperationTable& table);

}  // namespace galleon::cuda

// What a job takes on a GPU, known without one.
#pragma once

#include "kernels/operation_table.h"

namespace galleon::cuda {

// The sizes of scratch memory, and nothing else.
void fill_workspaces(OperationTable& table);

}  // namespace galleon::cuda

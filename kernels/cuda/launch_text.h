// What is said of a launch that went wrong.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

namespace galleon::cuda {

// "scale_matrix_kernel<float>(long, …), grid 4x1x1, block 256x1x1, 0 bytes of dynamic shared memory". `symbol`: the
// kernel's name as the compiler knows it.
std::string launch_text(const char* symbol, dim3 grid, dim3 block, size_t shared_bytes);

}  // namespace galleon::cuda

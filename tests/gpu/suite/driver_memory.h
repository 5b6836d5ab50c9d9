// What the driver counts.
#pragma once

#include <cuda_runtime_api.h>

#include "common/base/check.h"

namespace galleon::gpu {

// Bytes of the GPU's memory that are given out, to anyone.
inline double driver_used_bytes() {
  size_t free = 0;
  size_t total = 0;
  const cudaError_t error = cudaMemGetInfo(&free, &total);
  GALLEON_CHECK(error == cudaSuccess) << cudaGetErrorString(error);
  return static_cast<double>(total - free);
}

inline double driver_total_bytes() {
  size_t free = 0;
  size_t total = 0;
  const cudaError_t error = cudaMemGetInfo(&free, &total);
  GALLEON_CHECK(error == cudaSuccess) << cudaGetErrorString(error);
  return static_cast<double>(total);
}

}  // namespace galleon::gpu

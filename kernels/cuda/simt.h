// What the code of a kernel sees besides formulas and primitive types: CUDA's own language under nvcc, and elsewhere an
// executor with the same names that runs the threads of a block on the CPU. Tests put "simt_executor.h" on the include
// path; nothing else compiles a kernel without nvcc.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__

#include <cuda_runtime.h>

namespace galleon::cuda {

// The dynamic shared memory of a block, 16-byte aligned. Every call returns the same address.
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char galleon_dynamic_shared[];
  return reinterpret_cast<T*>(galleon_dynamic_shared);
}

}  // namespace galleon::cuda

#else

#include "simt_executor.h"

#endif

namespace galleon::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffU;

// A thread's place in the whole one-dimensional grid, and the number of threads in it, for grid-stride loops.
__device__ __forceinline__ int64_t grid_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t grid_threads() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

// 16 bytes of numbers, moved by one access. `at` must be 16-byte aligned: the executor aborts where it is not, as a GPU
// would.
template <typename T>
struct alignas(16) Pack {
  static constexpr int kCount = static_cast<int>(16 / sizeof(T));
  T value[kCount];
};
#ifdef __CUDACC__
// By way of CUDA's own vector, so that it is one access wherever the numbers come from.
template <typename T>
__device__ __forceinline__ Pack<T> load_pack(const T* at) {
  const uint4 words = *reinterpret_cast<const uint4*>(at);
  Pack<T> pack;
  memcpy(&pack, &words, sizeof(pack));
  return pack;
}
template <typename T>
__device__ __forceinline__ void store_pack(T* at, const Pack<T>& pack) {
  uint4 words;
  memcpy(&words, &pack, sizeof(pack));
  *reinterpret_cast<uint4*>(at) = words;
}
#else
template <typename T>
Pack<T> load_pack(const T* at) {
  executor::check_aligned(at, 16);
  return *reinterpret_cast<const Pack<T>*>(at);
}
template <typename T>
void store_pack(T* at, const Pack<T>& pack) {
  executor::check_aligned(at, 16);
  *reinterpret_cast<Pack<T>*>(at) = pack;
}
#endif

// Sum and maximum over the lanes of a warp, in a fixed order; every lane gets the result. All 32 lanes must call.
template <typename T>
__device__ __forceinline__ T warp_sum(T x) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, distance);
    x = other > x ? other : x;
  }
  return x;
}

}  // namespace galleon::cuda

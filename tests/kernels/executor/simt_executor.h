// CUDA's language for the CPU: what kernels/cuda/simt.h includes where there is no nvcc. The threads of a block are
// fibers of the calling thread, blocks run one after the other. What a GPU would answer with undefined behaviour ends
// the process with a sentence: a barrier that not every thread reaches, a shuffle with a lane that has ended or that
// waits elsewhere, a wide access at an address that is not aligned to it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static thread_local  // blocks of several host threads may run at once
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

namespace galleon {
struct OutsideNote;
}
namespace galleon::cuda {
struct Context;
}

namespace galleon::executor {

struct dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
  constexpr dim3(unsigned x_value = 1, unsigned y_value = 1, unsigned z_value = 1)  // NOLINT: as CUDA's
      : x(x_value), y(y_value), z(z_value) {}
};

// Where the running thread is.
struct Place {
  dim3 thread;
  dim3 block;
  dim3 block_size;
  dim3 grid_size;
  unsigned linear = 0;  // number of the thread in its block; its lane is this modulo 32
};
extern thread_local Place* here;

// Runs `body` once for every thread of the grid, with `shared` bytes of dynamic shared memory that hold NaNs at the
// beginning of each block. `context`: whose memory is open meanwhile; may be null.
void run(cuda::Context* context, dim3 grid, dim3 block, size_t shared, const std::function<void()>& body);

void* dynamic_shared();
void block_barrier();
// Waits for the lanes of `mask`, the caller's among them, and leaves in `all` what each of them brought; `bytes` ≤ 16.
void exchange(unsigned mask, const void* own, size_t bytes, unsigned char (*all)[16]);
void check_aligned(const void* at, size_t bytes);

// As read_back, write_ahead, result_slot and outside_note of kernels/cuda/launch.h need them.
void copy(cuda::Context* context, void* to, const void* from, size_t bytes);
// To the host's memory; ends the process if an index outside of its range was noted.
void read(cuda::Context* context, void* to, const void* from, size_t bytes);
void* result_memory(cuda::Context* context);
OutsideNote* note_memory(cuda::Context* context);

template <typename T>
T shuffled(unsigned mask, T value, unsigned from_lane) {
  static_assert(sizeof(T) <= 16 && std::is_trivially_copyable_v<T>);
  unsigned char all[32][16];
  exchange(mask, &value, sizeof(T), all);
  T result;
  std::memcpy(&result, all[from_lane % 32], sizeof(T));
  return result;
}

}  // namespace galleon::executor

#define threadIdx (::galleon::executor::here->thread)
#define blockIdx (::galleon::executor::here->block)
#define blockDim (::galleon::executor::here->block_size)
#define gridDim (::galleon::executor::here->grid_size)

namespace galleon::cuda {

using executor::dim3;

template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(executor::dynamic_shared());
}

inline void __syncthreads() {
  executor::block_barrier();
}
inline void __syncwarp(unsigned mask = 0xffffffffU) {
  unsigned char nothing[1][16] = {};
  executor::exchange(mask, nothing, 0, nothing);
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return executor::shuffled(mask, value, static_cast<unsigned>(lane));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  return executor::shuffled(mask, value, (executor::here->linear % 32) ^ static_cast<unsigned>(distance));
}
// A lane without one `distance` further on gets its own value, as on a GPU.
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance) {
  const unsigned lane = executor::here->linear % 32;
  return executor::shuffled(mask, value, lane + distance < 32 ? lane + distance : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  unsigned char all[32][16];
  const int own = predicate != 0 ? 1 : 0;
  executor::exchange(mask, &own, sizeof(own), all);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    int vote = 0;
    if ((mask >> lane & 1U) != 0) std::memcpy(&vote, all[lane], sizeof(vote));
    votes |= static_cast<unsigned>(vote) << lane;
  }
  return votes;
}
inline int __any_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask ? 1 : 0;
}

// One thread runs at a time, so that plain accesses are atomic.
template <typename T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
  const T old = *at;
  *at = old + value;
  return old;
}
template <typename T>
T atomicMax(T* at, std::type_identity_t<T> value) {
  const T old = *at;
  *at = value > old ? value : old;
  return old;
}
template <typename T>
T atomicMin(T* at, std::type_identity_t<T> value) {
  const T old = *at;
  *at = value < old ? value : old;
  return old;
}
template <typename T>
T atomicOr(T* at, std::type_identity_t<T> value) {
  const T old = *at;
  *at = old | value;
  return old;
}
template <typename T>
T atomicCAS(T* at, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  const T old = *at;
  if (old == compare) *at = value;
  return old;
}
inline void __threadfence() {}

}  // namespace galleon::cuda

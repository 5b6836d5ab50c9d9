// kernels/cuda/tensor_core.h for the executor: the same functions by the layouts that the PTX ISA documents. A copy
// arrives at once in blocks of odd number, elsewhere no earlier than its thread waits for it: a wait that was forgotten
// shows, and a copy over what others still read.
#pragma once

#include <cstdint>

#include "kernels/math/bfloat16.h"
#include "simt_executor.h"

namespace galleon::cuda {

using SharedAddress = uintptr_t;

inline SharedAddress shared_address(const void* at) {
  return reinterpret_cast<uintptr_t>(at);
}

void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void load_matrix_x4(uint32_t (&r)[4], SharedAddress row);
void load_matrix_x4_transposed(uint32_t (&r)[4], SharedAddress row);

void copy_async(SharedAddress to, const void* from, bool valid);
void copy_async_commit();
void copy_async_wait_for(int pending);
template <int pending>
void copy_async_wait() {
  copy_async_wait_for(pending);
}

inline uint32_t bfloat16_pair(float first, float second) {
  return static_cast<uint32_t>(math::to_bfloat16(first).bits) | static_cast<uint32_t>(math::to_bfloat16(second).bits)
                                                                    << 16;
}
inline float exp2_approximate(float x) {
  return x < -126.0F ? 0.0F : exp2f(x);
}

}  // namespace galleon::cuda

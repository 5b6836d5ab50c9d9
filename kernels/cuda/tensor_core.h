// What CUDA C++ has no name for: products of small matrices on tensor cores, the loads that give their operands, copies
// into shared memory that run beside the arithmetic (PTX ISA, for sm_80 and later). In the executor they are emulated
// by the layouts which that document gives.
//
// Lane l of a warp holds, of row l / 4 and of row l / 4 + 8, numbers 2·(l % 4) and the one after it:
//   a of 16×16 numbers: [0] columns 0…7 of the upper 8 rows, [1] of the lower, [2] columns 8…15 of the upper, [3] of
//   the lower d of 16×8 fp32 numbers: [0], [1] of the upper row, [2], [3] of the lower
// and of b, 16×8 numbers: of column l / 4, rows 2·(l % 4) and the one after it in b0, the same of rows 8…15 in b1.
#pragma once

#include "kernels/cuda/simt.h"
#include "kernels/math/bfloat16.h"

#ifdef __CUDACC__

namespace galleon::cuda {

// A place in shared memory; bytes may be added to it.
using SharedAddress = uint32_t;

__device__ __forceinline__ SharedAddress shared_address(const void* at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// d ← d + a·b, a and b in bf16.
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8×8 numbers: lane l names the address of row l % 8 of matrix l / 8, 16 aligned bytes, and gets from
// each matrix numbers 2·(l % 4) and the next of row l / 4; transposed: of column l / 4, those of these two rows.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row));
}
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row));
}

// Begins to copy 16 bytes, aligned on both sides, past the first-level cache; zeros where not `valid`, and then nothing
// is read.
__device__ __forceinline__ void copy_async(SharedAddress to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(valid ? 16 : 0)
               : "memory");
}
// Ends a group of this thread's copies.
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits for all groups of this thread but the newest `pending`. Others see the bytes after a barrier.
template <int pending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Two numbers rounded to bf16 as a pair that products take; `first` in the lower half.
__device__ __forceinline__ uint32_t bfloat16_pair(float first, float second) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

// 2^x within 2 ulp; 0 where the result is not a normal number.
__device__ __forceinline__ float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace galleon::cuda

#else

#include "tensor_core_executor.h"

#endif

// Tiles of attention in shared memory as bf16, and their products on tensor cores. A block has kTensorWarps warps, each
// of which owns whole rows of a result. Rows of a tile are 16 bytes longer than their numbers: the 8 rows of a matrix
// that a load touches then begin in different banks, without a permutation to compute.
#pragma once

#include "kernels/cuda/kernels/attention_kernels.h"
#include "kernels/cuda/tensor_core.h"

namespace galleon::cuda {

inline constexpr int kTensorWarps = 4;
inline constexpr int kTensorThreads = kTensorWarps * kWarp;
inline constexpr float kLog2OfE = 1.44269504F;

template <int kD>
inline constexpr int kRowBytes = (kD + 8) * static_cast<int>(sizeof(BFloat16));

__device__ __forceinline__ int lane_of_thread() {
  return static_cast<int>(threadIdx.x) % kWarp;
}
__device__ __forceinline__ int warp_of_thread() {
  return static_cast<int>(threadIdx.x) / kWarp;
}
// Where the thread's numbers lie in a 16×8 result: this row and the one 8 below, this column and the next.
__device__ __forceinline__ int fragment_row() {
  return lane_of_thread() / 4;
}
__device__ __forceinline__ int fragment_column() {
  return lane_of_thread() % 4 * 2;
}

// What the thread's address of a load is away from its tile's: for rows as the left operand, or transposed as the right
// one; and for rows as columns of the right operand.
template <int kD>
__device__ __forceinline__ int left_offset() {
  return lane_of_thread() % 16 * kRowBytes<kD> + lane_of_thread() / 16 * 16;
}
template <int kD>
__device__ __forceinline__ int right_offset() {
  return (lane_of_thread() % 8 + lane_of_thread() / 16 * 8) * kRowBytes<kD> + lane_of_thread() / 8 % 2 * 16;
}

// Begins to copy kRows rows of a head; rows from `rows` on become zeros.
template <int kRows, int kD>
__device__ __forceinline__ void copy_tile(SharedAddress to, const BFloat16* from, int64_t stride, int64_t rows) {
  constexpr int kPieces = kD / 8;  // of a row, a thread each
  constexpr int kAtOnce = kTensorThreads / kPieces >= 16 ? 16 : 8;
  static_assert(kRows % kAtOnce == 0 && kAtOnce * kPieces <= kTensorThreads);
  const int row = static_cast<int>(threadIdx.x) / kPieces;
  const int column = static_cast<int>(threadIdx.x) % kPieces * 8;
  if (kAtOnce * kPieces < kTensorThreads && row >= kAtOnce) return;
  const auto left = static_cast<int>(rows) - row;
  const SharedAddress place = to + row * kRowBytes<kD> + column * 2;
  const BFloat16* source = from + row * stride + column;
#pragma unroll
  for (int r = 0; r < kRows; r += kAtOnce) {
    copy_async(place + r * kRowBytes<kD>, source, r < left);
    source += kAtOnce * stride;
  }
}

// s ← rows of a · rows of bᵀ, 16·kM by 8·kN, over kD numbers. Addresses are those of the thread. kUnrolled: 16 numbers
// each, so many at once: where accumulators leave few registers, loads must not run far ahead.
template <int kD, int kUnrolled, int kM, int kN>
__device__ __forceinline__ void multiply_rows(SharedAddress a, SharedAddress b, float (&s)[kM][kN][4]) {
  static_assert(kN % 2 == 0);
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) s[m][n][i] = 0.0F;
    }
  }
#pragma unroll kUnrolled
  for (int d = 0; d < kD; d += 16) {
    uint32_t left[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) load_matrix_x4(left[m], a + m * 16 * kRowBytes<kD> + d * 2);
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      uint32_t right[4];
      load_matrix_x4(right, b + n * 8 * kRowBytes<kD> + d * 2);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma_m16n8k16(s[m][n], left[m], right[0], right[1]);
        mma_m16n8k16(s[m][n + 1], left[m], right[2], right[3]);
      }
    }
  }
}

// A result of 16·kM by 8·kN numbers, rounded to bf16, as the left operand of a product over its columns.
template <int kM, int kN>
__device__ __forceinline__ void round_to_left(const float (&s)[kM][kN][4], uint32_t (&p)[kM][kN / 2][4]) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      p[m][n / 2][0] = bfloat16_pair(s[m][n][0], s[m][n][1]);
      p[m][n / 2][1] = bfloat16_pair(s[m][n][2], s[m][n][3]);
      p[m][n / 2][2] = bfloat16_pair(s[m][n + 1][0], s[m][n + 1][1]);
      p[m][n / 2][3] = bfloat16_pair(s[m][n + 1][2], s[m][n + 1][3]);
    }
  }
}

// o ← o + p · the 16·kK rows of b.
template <int kD, int kM, int kK>
__device__ __forceinline__ void add_product(const uint32_t (&p)[kM][kK][4], SharedAddress b,
                                            float (&o)[kM][kD / 8][4]) {
#pragma unroll
  for (int k = 0; k < kK; ++k) {
#pragma unroll
    for (int n = 0; n < kD / 8; n += 2) {
      uint32_t right[4];
      load_matrix_x4_transposed(right, b + k * 16 * kRowBytes<kD> + n * 16);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma_m16n8k16(o[m][n], p[m][k], right[0], right[1]);
        mma_m16n8k16(o[m][n + 1], p[m][k], right[2], right[3]);
      }
    }
  }
}

// Rows of a warp's result to global memory, by way of `staging`, the warp's own 16·kM rows of a tile that nobody reads
// any more. factors: of the thread's rows. Rows from `rows` on are not there.
template <int kD, int kM>
__device__ __forceinline__ void store_rows(const float (&o)[kM][kD / 8][4], const float (&factors)[kM][2],
                                           unsigned char* staging, int64_t rows, BFloat16* to, int64_t stride) {
  __syncwarp();
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      unsigned char* row = staging + (16 * m + 8 * half + fragment_row()) * kRowBytes<kD>;
#pragma unroll
      for (int n = 0; n < kD / 8; ++n) {
        const uint32_t pair =
            bfloat16_pair(o[m][n][2 * half] * factors[m][half], o[m][n][2 * half + 1] * factors[m][half]);
        *reinterpret_cast<uint32_t*>(row + (8 * n + fragment_column()) * 2) = pair;
      }
    }
  }
  __syncwarp();
  constexpr int kPieces = kD / 8;
  for (int piece = lane_of_thread(); piece < 16 * kM * kPieces; piece += kWarp) {
    const int row = piece / kPieces;
    const int column = piece % kPieces * 8;
    if (row >= rows) break;
    store_pack(to + row * stride + column,
               load_pack(reinterpret_cast<const BFloat16*>(staging + row * kRowBytes<kD>) + column));
  }
}

// What a query sees, in the numbers of a sequence; all of it fits 32 bits.
struct Mask32 {
  int length;
  int window;
  bool causal;

  __device__ __forceinline__ bool sees(int i, int j) const {
    return j < length && (!causal || j <= i) && i - j < window;
  }
  // Whether each of the queries from i0 on sees each of the keys from j0 on.
  __device__ __forceinline__ bool all_see(int i0, int queries, int j0, int keys) const {
    return j0 + keys <= length && (!causal || j0 + keys <= i0 + 1) && i0 + queries - 1 - j0 < window;
  }
};
__device__ __forceinline__ Mask32 mask32(const DeviceMask& mask, int64_t length) {
  const bool narrow = mask.window > 0 && mask.window < INT32_MAX;
  return {static_cast<int>(length), narrow ? static_cast<int>(mask.window) : INT32_MAX, mask.causal};
}

// −∞ for the scores of keys that a query does not see. i0, j0: the query and the key of the thread's first number; a
// result's rows are queries, or, transposed, keys.
template <bool transposed, int kM, int kN>
__device__ __forceinline__ void apply_mask(const Mask32& mask, int i0, int j0, float (&s)[kM][kN][4]) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
#pragma unroll
      for (int x = 0; x < 4; ++x) {
        const int row = 16 * m + 8 * (x / 2);
        const int column = 8 * n + x % 2;
        if (!mask.sees(i0 + (transposed ? column : row), j0 + (transposed ? row : column))) s[m][n][x] = -INFINITY;
      }
    }
  }
}

// Calls `call.template operator()<kD>()` for one of the dimensions that on_tensor_cores accepts.
template <typename Call>
void by_tensor_dimension(int64_t dimension, Call call) {
  if (dimension == 64) return call.template operator()<64>();
  if (dimension == 96) return call.template operator()<96>();
  call.template operator()<128>();
}

}  // namespace galleon::cuda

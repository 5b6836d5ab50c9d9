// Reductions along rows: a team of threads works on a row, a warp where rows are short and else a whole block, and
// keeps the row in registers between its passes. Which thread holds which numbers depends on the row's length alone, so
// that alignment changes no bit of a result.
#pragma once

#include <algorithm>

#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/kernels/row_scratch_sizes.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {

static_assert(kTeamWarp == kWarp && Pack<float>::kCount == 4 && Pack<BFloat16>::kCount == 8);

// Teams as a launch takes them.
struct RowTeams : TeamShape {
  dim3 grid() const { return dim3(static_cast<unsigned>(blocks)); }
  dim3 block() const { return dim3(static_cast<unsigned>(width), static_cast<unsigned>(height)); }
};

// Of a forward: as many blocks as keep a GPU busy.
inline RowTeams forward_teams(int64_t rows, int64_t n, int count) {
  return {team_shape(rows, n, count, kForwardKept, 132 * 16)};
}
inline RowTeams backward_teams(int64_t rows, int64_t n, int count) {
  return {backward_team_shape(rows, n, count)};
}

// The first row of this thread's team and the distance to its next one.
__device__ __forceinline__ int64_t first_team_row() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
}
__device__ __forceinline__ int64_t team_row_step() {
  return static_cast<int64_t>(gridDim.x) * blockDim.y;
}

// Numbers [column, column + count) of a row of n, in one access where `wide` says that rows are aligned; zeros beyond
// the end.
template <int count, typename T>
__device__ __forceinline__ Piece<T, count> load_within(const T* row, int64_t column, int64_t n, bool wide) {
  if (wide && column + count <= n) return load_piece<count>(row + column);
  Piece<T, count> piece;
#pragma unroll
  for (int i = 0; i < count; ++i) piece.value[i] = column + i < n ? row[column + i] : T{};
  return piece;
}
template <int count, typename T>
__device__ __forceinline__ void store_within(T* row, int64_t column, int64_t n, bool wide,
                                             const Piece<T, count>& piece) {
  if (wide && column + count <= n) {
    store_piece(row + column, piece);
    return;
  }
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if (column + i < n) row[column + i] = piece.value[i];
  }
}

// x ← the sums of x over the team's threads, in a fixed order; `shared` holds count·kMostTeam/kWarp numbers. All
// threads of a team call it, and of a block where the team is one.
template <int count>
__device__ __forceinline__ void team_sum(float (&x)[count], float* shared) {
#pragma unroll
  for (int i = 0; i < count; ++i) x[i] = warp_sum(x[i]);
  if (blockDim.x == kWarp) return;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (threadIdx.x % kWarp == 0) {
#pragma unroll
    for (int i = 0; i < count; ++i) shared[i * warps + static_cast<int>(threadIdx.x) / kWarp] = x[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < count; ++i) {
    float sum = 0.0F;
    for (int warp = 0; warp < warps; ++warp) sum += shared[i * warps + warp];
    x[i] = sum;
  }
  __syncthreads();  // before the next row's sums
}

// A thread's pieces of a row, `kept` of them in registers; with `kept` 0 any number, read again for every pass.
// Calls body(k, column): k is the piece's place in the registers, a constant once the loop is unrolled.
template <int kept, int count, typename Body>
__device__ __forceinline__ void for_row_pieces(int64_t n, Body body) {
  if constexpr (kept > 0) {
#pragma unroll
    for (int k = 0; k < kept; ++k) {
      const int64_t column = (static_cast<int64_t>(threadIdx.x) + static_cast<int64_t>(k) * blockDim.x) * count;
      if (column < n) body(k, column);
    }
  } else {
    for (int64_t column = static_cast<int64_t>(threadIdx.x) * count; column < n;
         column += static_cast<int64_t>(blockDim.x) * count) {
      body(0, column);
    }
  }
}

// to[i] ← to[i] + Σ over parts of partial[part·stride + i], in the order of the parts.
void add_parts(const Execution& on, int64_t parts, int64_t n, const float* partial, int64_t stride, float* to);

}  // namespace galleon::cuda

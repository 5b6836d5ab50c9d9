// Reductions along rows: a team of threads works on a row, a warp where rows are short and else a whole block, and
// keeps the row in registers between its passes. Which thread holds which numbers depends on the row's length alone, so
// that alignment changes no bit of a result.
#pragma once

#include <algorithm>

#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {

constexpr int kMostTeam = 512;    // threads of a team
constexpr int kTeamBlock = 256;   // threads of a block of several teams
constexpr int kForwardKept = 4;   // pieces of a row that a thread of a forward keeps
constexpr int kBackwardKept = 2;  // and of a backward, beside the sums for as many columns

// Teams of `width` threads, `height` to a block, each of which takes every (blocks·height)-th row.
struct RowTeams {
  int width;
  int height;
  int64_t blocks;
  bool kept;  // the registers of a team hold a whole row
  int64_t teams() const { return blocks * height; }
  dim3 grid() const { return dim3(static_cast<unsigned>(blocks)); }
  dim3 block() const { return dim3(static_cast<unsigned>(width), static_cast<unsigned>(height)); }
};
// `count`: numbers of a piece; `kept`: pieces that a thread can keep.
inline RowTeams row_teams(int64_t rows, int64_t n, int count, int kept, int64_t most_blocks) {
  const int64_t pieces = (n + count - 1) / count;
  const int64_t warps = (pieces + kept * kWarp - 1) / (kept * kWarp);
  RowTeams teams{};
  teams.kept = pieces <= int64_t{kMostTeam} * kept;
  teams.width = static_cast<int>(std::min<int64_t>(warps * kWarp, kMostTeam));
  teams.height = teams.width == kWarp ? kTeamBlock / kWarp : 1;
  teams.blocks = std::clamp<int64_t>((rows + teams.height - 1) / teams.height, 1, most_blocks);
  return teams;
}

// Of a forward: as many blocks as keep a GPU busy.
inline RowTeams forward_teams(int64_t rows, int64_t n, int count) {
  return row_teams(rows, n, count, kForwardKept, 132 * 16);
}
// Of a backward whose teams each leave a row of partial sums: few enough that these stay small beside the operands.
inline RowTeams backward_teams(int64_t rows, int64_t n, int count) {
  const RowTeams alone = row_teams(rows, n, count, kBackwardKept, 1);
  return row_teams(rows, n, count, kBackwardKept, alone.height > 1 ? 132 * 2 : 132 * 4);
}
// Whatever the type of the numbers.
inline int64_t most_backward_teams(int64_t rows, int64_t n) {
  return std::max(backward_teams(rows, n, Pack<float>::kCount).teams(),
                  backward_teams(rows, n, Pack<BFloat16>::kCount).teams());
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

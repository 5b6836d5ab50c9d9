// y ← xᵀ in squares that turn in shared memory, so that both reads and writes are along rows.
#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {
namespace {

constexpr int kTile = 64;  // numbers along a side of a square
constexpr int kThreads = 256;

// Numbers of a thread's store: 4 bytes, so that a warp writes 128 bytes in a row.
template <typename T>
constexpr int kStored = static_cast<int>(4 / sizeof(T));
__device__ __forceinline__ void store_word(float* at, const float* from) {
  *at = *from;
}
__device__ __forceinline__ void store_word(BFloat16* at, const BFloat16* from) {
  *reinterpret_cast<uint32_t*>(at) = uint32_t{from[0].bits} | uint32_t{from[1].bits} << 16;
}

// Block: one square of x. `loaded` and `stored` numbers are moved at once.
template <typename T, int loaded, int stored>
__global__ void __launch_bounds__(kThreads)
    transpose_kernel(int64_t rows, int64_t n, int64_t tiles_across, const T* __restrict__ x, int64_t ldx,
                     T* __restrict__ y, int64_t ldy) {
  // A word of padding: a column's numbers lie in different banks.
  __shared__ T turned[kTile][kTile + kStored<T>];
  const int64_t first_row = blockIdx.x / tiles_across * kTile;
  const int64_t first_column = blockIdx.x % tiles_across * kTile;
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile / loaded; i += kThreads) {
    const int r = i / (kTile / loaded);
    const int c = i % (kTile / loaded) * loaded;
    const int64_t left = n - first_column - c;
    if (first_row + r >= rows) continue;
    const T* at = x + (first_row + r) * ldx + first_column + c;
    if (left >= loaded) {
      const Piece<T, loaded> piece = load_piece<loaded>(at);
#pragma unroll
      for (int j = 0; j < loaded; ++j) turned[c + j][r] = piece.value[j];
    } else {
      for (int j = 0; j < left; ++j) turned[c + j][r] = at[j];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile / stored; i += kThreads) {
    const int c = i / (kTile / stored);
    const int r = i % (kTile / stored) * stored;
    const int64_t left = rows - first_row - r;
    if (first_column + c >= n) continue;
    T* at = y + (first_column + c) * ldy + first_row + r;
    if (stored > 1 && left >= stored) {
      store_word(at, &turned[c][r]);
    } else {
      for (int j = 0; j < stored && j < left; ++j) at[j] = turned[c][r + j];
    }
  }
}

template <typename T>
void transpose(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<T> y) {
  const int64_t tiles_down = ceil_div(rows, kTile);
  const int64_t tiles_across = ceil_div(n, kTile);
  const dim3 grid(static_cast<unsigned>(tiles_down * tiles_across));
  if (rows_aligned(rows, x) && rows_aligned(n, y)) {
    launch<transpose_kernel<T, Pack<T>::kCount, kStored<T>>>(on, grid, kThreads, 0, rows, n, tiles_across, x.data,
                                                             x.stride, y.data, y.stride);
  } else {
    launch<transpose_kernel<T, 1, 1>>(on, grid, kThreads, 0, rows, n, tiles_across, x.data, x.stride, y.data, y.stride);
  }
}

}  // namespace

void fill_transpose(OperationTable& table) {
  table.f32.transpose = transpose<float>;
  table.bf16.transpose = transpose<BFloat16>;
}

}  // namespace galleon::cuda

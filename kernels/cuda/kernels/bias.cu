#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/row_teams.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {
namespace {

struct SumFormula {
  __device__ float operator()(float x, float y) const { return x + y; }
};

template <typename T>
void add_bias(const Execution& on, int64_t rows, int64_t n, const T* bias, Matrix<T> y) {
  map(on, rows, n, SumFormula{}, rows_of<const T>(y), vector_rows(bias), rows_of(y));
}

constexpr int kThreads = 512;
constexpr int kSegment = 64;  // bytes of a row that a block takes, where rows are aligned

// Block: `lanes` pieces of `count` columns × rows side by side. Each thread sums every so-many-th row, in runs so that
// rounding does not grow with the number of rows; then the sums of the threads are added in order.
template <typename T, int count, int lanes>
__global__ void __launch_bounds__(kThreads)
    bias_backward_kernel(int64_t rows, int64_t n, const T* __restrict__ dy, int64_t ldy, float* __restrict__ dbias) {
  constexpr int64_t kRun = 64;
  constexpr int kRows = kThreads / lanes;
  constexpr int kColumns = lanes * count;
  __shared__ float sums[kRows][kColumns + 1];
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int own_row = static_cast<int>(threadIdx.x) / lanes;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kColumns;
  const int64_t column = first_column + lane * count;
  float total[count] = {};
  if (column < n) {
    for (int64_t first = own_row; first < rows; first += kRun * kRows) {
      const int64_t end = first + kRun * kRows < rows ? first + kRun * kRows : rows;
      float run[count] = {};
#pragma unroll 4
      for (int64_t row = first; row < end; row += kRows) {
        const Piece<T, count> piece = load_within<count>(dy + row * ldy, column, n, count > 1);
#pragma unroll
        for (int i = 0; i < count; ++i) run[i] += math::load(piece.value[i]);
      }
#pragma unroll
      for (int i = 0; i < count; ++i) total[i] += run[i];
    }
  }
#pragma unroll
  for (int i = 0; i < count; ++i) sums[own_row][lane * count + i] = total[i];
  __syncthreads();
  if (threadIdx.x < kColumns && first_column + threadIdx.x < n) {
    float sum = 0.0F;
    for (int row = 0; row < kRows; ++row) sum += sums[row][threadIdx.x];
    dbias[first_column + threadIdx.x] += sum;
  }
}

template <typename T>
void bias_backward(const Execution& on, int64_t rows, int64_t n, Matrix<const T> dy, float* dbias) {
  constexpr int kLanes = kSegment / 16;
  constexpr int kColumns = kLanes * Pack<T>::kCount;
  if (rows_aligned(rows, dy)) {
    const auto blocks = static_cast<unsigned>(ceil_div(n, kColumns));
    launch<bias_backward_kernel<T, Pack<T>::kCount, kLanes>>(on, blocks, kThreads, 0, rows, n, dy.data, dy.stride,
                                                             dbias);
  } else {
    const auto blocks = static_cast<unsigned>(ceil_div(n, kWarp));
    launch<bias_backward_kernel<T, 1, kWarp>>(on, blocks, kThreads, 0, rows, n, dy.data, dy.stride, dbias);
  }
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.add_bias = add_bias<T>;
  table.bias_backward = bias_backward<T>;
}

}  // namespace

void fill_bias(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
}

}  // namespace galleon::cuda

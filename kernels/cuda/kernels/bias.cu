#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"

namespace galleon::cuda {
namespace {

struct SumFormula {
  __device__ float operator()(float x, float y) const { return x + y; }
};

template <typename T>
void add_bias(const Execution& on, int64_t rows, int64_t n, const T* bias, T* y, int64_t ldy) {
  map(on, rows, n, SumFormula{}, Rows<const T>{y, ldy}, Rows<const T>{bias, 0}, Rows<T>{y, ldy});
}

constexpr int kRows = 16;  // rows that a block sums side by side

// Block: a warp's width of columns × kRows. Each thread sums every kRows-th row, in runs so that rounding does not grow
// with the number of rows; then the kRows sums are added in order.
template <typename T>
__global__ void bias_backward_kernel(int64_t rows, int64_t n, const T* __restrict__ dy, int64_t ldy,
                                     float* __restrict__ dbias) {
  constexpr int64_t kRun = 64;
  __shared__ float sums[kRows][kWarp];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  float total = 0.0F;
  if (column < n) {
    for (int64_t first = threadIdx.y; first < rows; first += kRun * kRows) {
      const int64_t end = first + kRun * kRows < rows ? first + kRun * kRows : rows;
      float run = 0.0F;
      for (int64_t row = first; row < end; row += kRows) run += math::load(dy[row * ldy + column]);
      total += run;
    }
  }
  sums[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y == 0 && column < n) {
    float sum = 0.0F;
    for (int i = 0; i < kRows; ++i) sum += sums[i][threadIdx.x];
    dbias[column] += sum;
  }
}

template <typename T>
void bias_backward(const Execution& on, int64_t rows, int64_t n, const T* dy, int64_t ldy, float* dbias) {
  const auto blocks = static_cast<unsigned>((n + kWarp - 1) / kWarp);
  launch<bias_backward_kernel<T>>(on, dim3(blocks), dim3(kWarp, kRows), 0, rows, n, dy, ldy, dbias);
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

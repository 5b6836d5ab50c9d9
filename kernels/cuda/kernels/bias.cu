#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T, int count>
__global__ void add_bias_kernel(int64_t rows, int64_t pieces, const T* __restrict__ bias, T* __restrict__ y,
                                int64_t ldy) {
  for (int64_t i = grid_thread(); i < rows * pieces; i += grid_threads()) {
    const int64_t row = i / pieces;
    const int64_t column = (i - row * pieces) * count;
    T* at = y + row * ldy + column;
    Piece<T, count> sum = load_piece<count>(at);
    const Piece<T, count> added = load_piece<count>(bias + column);
    for (int j = 0; j < count; ++j) math::store(sum.value[j], math::load(sum.value[j]) + math::load(added.value[j]));
    store_piece(at, sum);
  }
}

template <typename T>
void add_bias(const Execution& on, int64_t rows, int64_t n, const T* bias, T* y, int64_t ldy) {
  by_pieces<T>(n, {{bias, 0}, {y, ldy}}, [&]<int count>() {
    const int64_t pieces = n / count;
    launch<add_bias_kernel<T, count>>(on, blocks_for(rows * pieces, kThreads), kThreads, 0, rows, pieces, bias, y, ldy);
  });
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

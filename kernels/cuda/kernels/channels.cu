// Norms of rows and columns, and what scales them.
#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/row_teams.h"

namespace galleon::cuda {
namespace {

constexpr int kLanes = 8;  // rows that a block sums side by side

// A team to a row.
__global__ void __launch_bounds__(kMostTeam)
    row_squares_kernel(int64_t rows, int64_t n, bool wide, const float* __restrict__ x, float* __restrict__ to) {
  constexpr int kCount = Pack<float>::kCount;
  __shared__ float shared[kMostTeam / kWarp];
  for (int64_t row = first_team_row(); row < rows; row += team_row_step()) {
    float sum[1] = {0.0F};
    for_row_pieces<0, kCount>(n, [&](int, int64_t column) {
      const Piece<float, kCount> piece = load_within<kCount>(x + row * n, column, n, wide);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum[0] += piece.value[i] * piece.value[i];
    });
    team_sum(sum, shared);
    if (threadIdx.x == 0) to[row] = sum[0];
  }
}

void row_squares(const Execution& on, int64_t rows, int64_t n, const float* x, float* to) {
  const RowTeams teams = forward_teams(rows, n, Pack<float>::kCount);
  launch<row_squares_kernel>(on, teams.grid(), teams.block(), 0, rows, n, rows_aligned(rows, Matrix<const float>{x, n}),
                             x, to);
}

// A block to a warp's width of columns: few blocks, but every order of sums is that of the shape.
__global__ void __launch_bounds__(kWarp* kLanes)
    column_squares_kernel(int64_t rows, int64_t n, const float* __restrict__ x, float* __restrict__ to) {
  __shared__ double sums[kLanes][kWarp];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  double sum = 0.0;
  if (column < n) {
    for (int64_t row = threadIdx.y; row < rows; row += kLanes) {
      const auto number = static_cast<double>(x[row * n + column]);
      sum += number * number;
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= n) return;
  sum = 0.0;
  for (int lane = 0; lane < kLanes; ++lane) sum += sums[lane][threadIdx.x];
  to[column] = static_cast<float>(sum);
}

void column_squares(const Execution& on, int64_t rows, int64_t n, const float* x, float* to) {
  launch<column_squares_kernel>(on, dim3(static_cast<unsigned>((n + kWarp - 1) / kWarp)), dim3(kWarp, kLanes), 0, rows,
                                n, x, to);
}

__global__ void __launch_bounds__(256)
    root_ratios_kernel(int64_t size, float factor, const float* a, const float* b, float floor, float* to) {
  for (int64_t i = grid_thread(); i < size; i += grid_threads()) {
    const float above = a != nullptr ? __builtin_sqrtf(a[i]) : 1.0F;
    to[i] = factor * above / (__builtin_sqrtf(b[i]) + floor);
  }
}

void root_ratios(const Execution& on, int64_t size, float factor, const float* a, const float* b, float floor,
                 float* to) {
  launch<root_ratios_kernel>(on, blocks_for(size, 256), 256, 0, size, factor, a, b, floor, to);
}

struct ScaleChannels {
  float factor;
  const float* common;
  const float* of_rows;
  Rows<const float> of_columns;
  Rows<float> x;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const float all = common != nullptr ? factor * *common : factor;
    const float of_row = of_rows != nullptr ? all * of_rows[row] : all;
    auto numbers = x.load<count>(row, column);
    if (of_columns.data == nullptr) {
#pragma unroll
      for (int i = 0; i < count; ++i) numbers.value[i] *= of_row;
    } else {
      const auto of_piece = of_columns.load<count>(0, column);
#pragma unroll
      for (int i = 0; i < count; ++i) numbers.value[i] *= of_row * of_piece.value[i];
    }
    x.store<count>(row, column, numbers);
  }
};

void scale_channels(const Execution& on, int64_t rows, int64_t n, float factor, const float* common,
                    const float* of_rows, const float* of_columns, float* x) {
  const ScaleChannels body{factor, common, of_rows, vector_rows(of_columns), rows_of(Matrix<float>{x, n})};
  const bool wide = body.x.aligned(rows) && (of_columns == nullptr || body.of_columns.aligned(1));
  elementwise<Pack<float>::kCount>(on, rows, n, wide, body);
}

__global__ void growth_limit_kernel(float factor, const float* own, const float* squares, float limit, float* before,
                                    float* to) {
  const float size = own != nullptr ? *own : 1.0F;
  const float norm = factor * size * __builtin_sqrtf(*squares);
  const float most = limit * *before;
  const float part = most > 0.0F && norm > most ? most / norm : 1.0F;
  *to = size * part;
  *before = norm * part;
}

void growth_limit(const Execution& on, float factor, const float* own, const float* squares, float limit, float* before,
                  float* to) {
  launch<growth_limit_kernel>(on, 1, 1, 0, factor, own, squares, limit, before, to);
}

}  // namespace

void fill_channels(OperationTable& table) {
  table.row_squares = row_squares;
  table.column_squares = column_squares;
  table.root_ratios = root_ratios;
  table.scale_channels = scale_channels;
  table.growth_limit = growth_limit;
}

}  // namespace galleon::cuda

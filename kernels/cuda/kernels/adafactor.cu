// Adafactor. Sums over rows are formed in runs of fp32 within pieces of rows whose number depends on the shape alone,
// and added in double in the order of the pieces.
#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/row_teams.h"

namespace galleon::cuda {
namespace {

constexpr int kLanes = 8;            // rows that a block sums side by side
constexpr int kVectorThreads = 512;  // of the one block that works on a vector

// rows ← β₂·rows + (1−β₂)·mean over columns of (r² + ε). A team to a row.
__global__ void __launch_bounds__(kMostTeam)
    row_factors_kernel(int64_t rows, int64_t n, bool wide, float beta2, float epsilon, float gradient_scale,
                       const float* __restrict__ r, float* __restrict__ row_factors) {
  constexpr int kCount = Pack<float>::kCount;
  __shared__ float shared[kMostTeam / kWarp];
  for (int64_t row = first_team_row(); row < rows; row += team_row_step()) {
    float sum[1] = {0.0F};
    for_row_pieces<0, kCount>(n, [&](int, int64_t column) {
      const Piece<float, kCount> g = load_within<kCount>(r + row * n, column, n, wide);
      float of_piece = 0.0F;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float scaled = g.value[i] * gradient_scale;
        of_piece += column + i < n ? scaled * scaled + epsilon : 0.0F;
      }
      sum[0] += of_piece;
    });
    team_sum(sum, shared);
    if (threadIdx.x == 0)
      row_factors[row] = beta2 * row_factors[row] + (1.0F - beta2) * (sum[0] / static_cast<float>(n));
  }
}

// Block: a warp's width of columns × kLanes rows at a time, over one piece of rows. The last column stands for the sum
// of the row factors.
__global__ void __launch_bounds__(kWarp* kLanes)
    column_sums_kernel(int64_t rows, int64_t n, float epsilon, float gradient_scale, const float* __restrict__ r,
                       const float* __restrict__ row_factors, double* __restrict__ partial) {
  constexpr int64_t kRun = 32;  // rows of a lane that are summed in fp32
  __shared__ double squares[kLanes][kWarp];
  __shared__ double ratios[kLanes][kWarp];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  const int64_t piece = blockIdx.y;
  const int64_t begin = piece * rows / gridDim.y;
  const int64_t end = (piece + 1) * rows / gridDim.y;
  double square_total = 0.0;
  double ratio_total = 0.0;
  if (column <= n) {
    for (int64_t first = begin + threadIdx.y; first < end; first += kRun * kLanes) {
      const int64_t last = first + kRun * kLanes < end ? first + kRun * kLanes : end;
      float square_run = 0.0F;
      float ratio_run = 0.0F;
      for (int64_t row = first; row < last; row += kLanes) {
        const float factor = row_factors[row];
        if (column == n) {
          square_run += factor;
          continue;
        }
        const float scaled = r[row * n + column] * gradient_scale;
        const float square = scaled * scaled;
        square_run += square + epsilon;
        ratio_run += square / factor;
      }
      square_total += static_cast<double>(square_run);
      ratio_total += static_cast<double>(ratio_run);
    }
  }
  squares[threadIdx.y][threadIdx.x] = square_total;
  ratios[threadIdx.y][threadIdx.x] = ratio_total;
  __syncthreads();
  if (threadIdx.y != 0 || column > n) return;
  square_total = 0.0;
  ratio_total = 0.0;
  for (int lane = 0; lane < kLanes; ++lane) {
    square_total += squares[lane][threadIdx.x];
    ratio_total += ratios[lane][threadIdx.x];
  }
  double* own = partial + piece * (2 * n + 1);
  if (column == n) {
    own[2 * n] = square_total;
  } else {
    own[column] = square_total;
    own[n + column] = ratio_total;
  }
}

__global__ void __launch_bounds__(kTeamBlock)
    total_sums_kernel(int64_t pieces, int64_t width, const double* __restrict__ partial, float* __restrict__ sums) {
  for (int64_t i = grid_thread(); i < width; i += grid_threads()) {
    double total = 0.0;
    for (int64_t piece = 0; piece < pieces; ++piece) total += partial[piece * width + i];
    sums[i] = static_cast<float>(total);
  }
}

void adafactor_sums(const Execution& on, int64_t rows, int64_t n, const AdafactorRule& rule, const float* r,
                    float* row_factors, float* sums, void* scratch) {
  const int64_t width = 2 * n + 1;
  double* partial = static_cast<double*>(scratch);
  const int64_t pieces = adafactor_pieces(rows);
  if (rows > 0) {
    const RowTeams teams = forward_teams(rows, n, Pack<float>::kCount);
    launch<row_factors_kernel>(on, teams.grid(), teams.block(), 0, rows, n,
                               rows_aligned(rows, Matrix<const float>{r, n}), rule.beta2, rule.epsilon,
                               rule.gradient_scale, r, row_factors);
    const auto across = static_cast<unsigned>((n + kWarp) / kWarp);  // n columns and one
    launch<column_sums_kernel>(on, dim3(across, static_cast<unsigned>(pieces)), dim3(kWarp, kLanes), 0, rows, n,
                               rule.epsilon, rule.gradient_scale, r, row_factors, partial);
  }
  launch<total_sums_kernel>(on, blocks_for(width, kTeamBlock), kTeamBlock, 0, pieces, width, partial, sums);
}

// What the pass over rows needs to know: the mean of the row factors, and the factor that all updates share.
struct Shared {
  float mean_factor;
  float factor;
};

// 1 / max(1, root of the mean square / clip).
__device__ __forceinline__ float clipped(double mean_square, float clip) {
  const double ratio = __builtin_sqrt(mean_square) / static_cast<double>(clip);
  return static_cast<float>(ratio > 1.0 ? 1.0 / ratio : 1.0);
}

// The sum of x over a block of one row of threads, in a fixed order, in thread 0.
__device__ __forceinline__ double block_sum(double x, double* shared) {
  x = warp_sum(x);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  double sum = 0.0;
  if (threadIdx.x == 0) {
    for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) sum += shared[warp];
  }
  return sum;
}

// One block: columns ← β₂·columns + (1−β₂)·mean of all rows, their inverse roots, and the shared factor.
__global__ void __launch_bounds__(kVectorThreads)
    column_factors_kernel(int64_t n, int64_t all_rows, float beta2, float gradient_scale, float learning_rate,
                          float clip, float* __restrict__ column_factors, const float* __restrict__ sums,
                          float* __restrict__ inverse, Shared* __restrict__ shared) {
  __shared__ double of_warps[kVectorThreads / kWarp];
  double squares = 0.0;
  for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
    const auto mean = static_cast<float>(static_cast<double>(sums[j]) / static_cast<double>(all_rows));
    const float factor = beta2 * column_factors[j] + (1.0F - beta2) * mean;
    column_factors[j] = factor;
    inverse[j] = 1.0F / __builtin_sqrtf(factor);
    squares += static_cast<double>(sums[n + j]) / static_cast<double>(factor);
  }
  squares = block_sum(squares, of_warps);
  if (threadIdx.x != 0) return;
  const double mean_factor = static_cast<double>(sums[2 * n]) / static_cast<double>(all_rows);
  const double numbers = static_cast<double>(all_rows) * static_cast<double>(n);
  shared->mean_factor = static_cast<float>(mean_factor);
  shared->factor = clipped(squares * mean_factor / numbers, clip) * learning_rate * gradient_scale;
}

// u·factor, averaged into m where there is one.
template <int count>
__device__ __forceinline__ void finish(Piece<float, count>& u, float factor, float beta1, const Rows<float>& m,
                                       int64_t row, int64_t column) {
  if (m.data == nullptr) {
#pragma unroll
    for (int i = 0; i < count; ++i) u.value[i] *= factor;
    return;
  }
  auto moment = m.load<count>(row, column);
#pragma unroll
  for (int i = 0; i < count; ++i) moment.value[i] = beta1 * moment.value[i] + (1.0F - beta1) * (u.value[i] * factor);
  m.store<count>(row, column, moment);
  u = moment;
}

struct Update {
  float beta1;
  Rows<float> r;
  const float* row_factors;
  Rows<const float> inverse;
  const Shared* shared;
  Rows<float> m;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    auto u = r.load<count>(row, column);
    const auto of_column = inverse.load<count>(0, column);
    const float of_row = __builtin_sqrtf(shared->mean_factor / row_factors[row]);
#pragma unroll
    for (int i = 0; i < count; ++i) u.value[i] *= of_column.value[i];
    finish(u, of_row * shared->factor, beta1, m, row, column);
    r.store<count>(row, column, u);
  }
};

void adafactor_update(const Execution& on, const AdafactorUpdate& a, void* scratch) {
  auto* shared = static_cast<Shared*>(scratch);
  auto* inverse = reinterpret_cast<float*>(static_cast<char*>(scratch) + 64);
  launch<column_factors_kernel>(on, 1, kVectorThreads, 0, a.n, a.all_rows, a.rule.beta2, a.rule.gradient_scale,
                                a.rule.learning_rate, a.rule.clip, a.column_factors, a.sums, inverse, shared);
  if (a.rows == 0) return;
  const Update body{a.rule.beta1, {{a.r, a.n}}, a.row_factors, vector_rows<const float>(inverse), shared, {{a.m, a.n}}};
  const bool wide = body.r.aligned(a.rows) && body.inverse.aligned(1) && (a.m == nullptr || body.m.aligned(a.rows));
  elementwise<Pack<float>::kCount>(on, a.rows, a.n, wide, body);
}

// One block: v ← β₂v + (1−β₂)(r² + ε), and the sum of r² / v.
__global__ void __launch_bounds__(kVectorThreads)
    vector_sums_kernel(int64_t n, float beta2, float epsilon, float gradient_scale, const float* __restrict__ r,
                       float* __restrict__ v, float* __restrict__ sums) {
  __shared__ double of_warps[kVectorThreads / kWarp];
  double total = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const float scaled = r[i] * gradient_scale;
    const float square = scaled * scaled;
    const float factor = beta2 * v[i] + (1.0F - beta2) * (square + epsilon);
    v[i] = factor;
    total += static_cast<double>(square) / static_cast<double>(factor);
  }
  total = block_sum(total, of_warps);
  if (threadIdx.x == 0) sums[0] = static_cast<float>(total);
}

void adafactor_vector_sums(const Execution& on, int64_t n, const AdafactorRule& rule, const float* r, float* v,
                           float* sums) {
  launch<vector_sums_kernel>(on, 1, kVectorThreads, 0, n, rule.beta2, rule.epsilon, rule.gradient_scale, r, v, sums);
}

struct VectorUpdate {
  float beta1;
  float factor;  // but for the clip
  double all;
  float clip;
  Rows<float> r;
  Rows<const float> v;
  const float* sums;
  Rows<float> m;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    auto u = r.load<count>(row, column);
    const auto square = v.load<count>(row, column);
#pragma unroll
    for (int i = 0; i < count; ++i) u.value[i] /= __builtin_sqrtf(square.value[i]);
    finish(u, clipped(static_cast<double>(sums[0]) / all, clip) * factor, beta1, m, row, column);
    r.store<count>(row, column, u);
  }
};

void adafactor_vector_update(const Execution& on, int64_t n, int64_t all, const AdafactorRule& rule, float* r,
                             const float* v, const float* sums, float* m) {
  const VectorUpdate body{rule.beta1,
                          rule.learning_rate * rule.gradient_scale,
                          static_cast<double>(all),
                          rule.clip,
                          vector_rows(r),
                          vector_rows(v),
                          sums,
                          vector_rows(m)};
  const bool wide = body.r.aligned(1) && body.v.aligned(1) && (m == nullptr || body.m.aligned(1));
  elementwise<Pack<float>::kCount>(on, 1, n, wide, body);
}

}  // namespace

void fill_adafactor(OperationTable& table) {
  table.adafactor_sums = adafactor_sums;
  table.adafactor_sums_workspace = adafactor_sums_workspace;
  table.adafactor_update = adafactor_update;
  table.adafactor_update_workspace = adafactor_update_workspace;
  table.adafactor_vector_sums = adafactor_vector_sums;
  table.adafactor_vector_update = adafactor_vector_update;
}

}  // namespace galleon::cuda

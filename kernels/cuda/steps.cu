#include "kernels/cuda/steps.h"

#include <cmath>

#include "kernels/cuda/launch.h"
#include "kernels/math/bfloat16.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSquare = 16;  // side of a block over a matrix

template <typename T>
__global__ void scale_matrix_kernel(int64_t rows, int64_t n, float factor, T* x, int64_t ldx) {
  for (int64_t i = grid_thread(); i < rows * n; i += grid_threads()) {
    T& at = x[i / n * ldx + i % n];
    math::store(at, factor == 0.0F ? 0.0F : factor * math::load(at));
  }
}

__global__ void widen_kernel(int64_t rows, int64_t n, const float* __restrict__ x, int64_t ldx,
                             double* __restrict__ y) {
  for (int64_t i = grid_thread(); i < rows * n; i += grid_threads()) y[i] = static_cast<double>(x[i / n * ldx + i % n]);
}

__global__ void narrow_kernel(int64_t rows, int64_t n, const double* __restrict__ x, float* __restrict__ y,
                              int64_t ldy) {
  for (int64_t i = grid_thread(); i < rows * n; i += grid_threads()) y[i / n * ldy + i % n] = static_cast<float>(x[i]);
}

// One block.
__global__ void diagonal_range_kernel(int64_t n, const double* __restrict__ square, DiagonalRange* range) {
  __shared__ double smallest[kThreads];
  __shared__ double largest[kThreads];
  const int t = static_cast<int>(threadIdx.x);
  double low = square[0];
  double high = low;
  for (int64_t i = t; i < n; i += kThreads) {
    const double at = square[i * n + i];
    low = at < low ? at : low;
    high = at > high ? at : high;
  }
  smallest[t] = low;
  largest[t] = high;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) {
      smallest[t] = smallest[t + half] < smallest[t] ? smallest[t + half] : smallest[t];
      largest[t] = largest[t + half] > largest[t] ? largest[t + half] : largest[t];
    }
  }
  if (t == 0) *range = {smallest[0], largest[0]};
}

__global__ void clear_kernel(unsigned* x) {
  *x = 0;
}

// The bits of floats that are not negative are ordered as they are, so that the order of the blocks does not matter.
__global__ void distance_kernel(int64_t n, const double* __restrict__ square, unsigned* bits) {
  float highest = 0.0F;
  for (int64_t i = grid_thread(); i < n * n; i += grid_threads()) {
    const int64_t row = i % n;
    const int64_t column = i / n;
    if (row > column) continue;
    const double off = square[i] - (row == column ? 1.0 : 0.0);
    const float distance = static_cast<float>(off < 0 ? -off : off);
    highest = distance > highest ? distance : highest;
  }
  highest = warp_max(highest);
  if (threadIdx.x % kWarp == 0) atomicMax(bits, math::bits_of(highest));
}

// Blocks of squares through shared memory, so that both sides are read and written in rows.
__global__ void take_last_vectors_kernel(int64_t n, int64_t rank, const double* __restrict__ vectors,
                                         float* __restrict__ basis, int64_t ldb) {
  __shared__ float tile[kSquare][kSquare + 1];
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * kSquare;
  const int64_t column0 = static_cast<int64_t>(blockIdx.y) * kSquare;
  const int64_t row = row0 + threadIdx.x;
  const int64_t column = column0 + threadIdx.y;
  if (row < n && column < rank) {
    tile[threadIdx.y][threadIdx.x] = static_cast<float>(vectors[(n - 1 - column) * n + row]);
  }
  __syncthreads();
  const int64_t out_row = row0 + threadIdx.y;
  const int64_t out_column = column0 + threadIdx.x;
  if (out_row < n && out_column < rank) basis[out_row * ldb + out_column] = tile[threadIdx.x][threadIdx.y];
}

__global__ void take_scaled_vectors_kernel(int64_t rows, int64_t rank, const double* __restrict__ products,
                                           const double* __restrict__ values, double least, float* __restrict__ basis,
                                           int64_t ldb) {
  for (int64_t i = grid_thread(); i < rows * rank; i += grid_threads()) {
    const int64_t row = i / rank;
    const int64_t from = rank - 1 - i % rank;
    const double value = values[from];
    basis[row * ldb + i % rank] = value < least ? 0.0F : static_cast<float>(products[row * rank + from] / sqrt(value));
  }
}

template <typename T>
void scale_any(const Execution& on, int64_t rows, int64_t n, float factor, Matrix<T> x) {
  if (factor == 1.0F) return;
  launch<scale_matrix_kernel<T>>(on, blocks_for(rows * n, kThreads), kThreads, 0, rows, n, factor, x.data, x.stride);
}

}  // namespace

void scale_matrix(const Execution& on, int64_t rows, int64_t n, float factor, Matrix<float> x) {
  scale_any(on, rows, n, factor, x);
}
void scale_matrix(const Execution& on, int64_t rows, int64_t n, float factor, Matrix<BFloat16> x) {
  scale_any(on, rows, n, factor, x);
}

void widen(const Execution& on, int64_t rows, int64_t n, Matrix<const float> x, double* y) {
  launch<widen_kernel>(on, blocks_for(rows * n, kThreads), kThreads, 0, rows, n, x.data, x.stride, y);
}
void narrow(const Execution& on, int64_t rows, int64_t n, const double* x, Matrix<float> y) {
  launch<narrow_kernel>(on, blocks_for(rows * n, kThreads), kThreads, 0, rows, n, x, y.data, y.stride);
}

FactorVerdict* verdict_slot(const Execution& on) {
  return result_slot<FactorVerdict>(on);
}
FactorVerdict read_verdict(const Execution& on, const FactorVerdict* verdict) {
  return read_back(on, verdict);
}

void note_diagonal(const Execution& on, int64_t n, const double* square, DiagonalRange* range) {
  launch<diagonal_range_kernel>(on, dim3(1), kThreads, 0, n, square, range);
}

void note_distance_from_identity(const Execution& on, int64_t n, const double* square, float* distance) {
  auto* bits = reinterpret_cast<unsigned*>(distance);
  launch<clear_kernel>(on, dim3(1), dim3(1), 0, bits);
  launch<distance_kernel>(on, blocks_for(n * n, kThreads), kThreads, 0, n, square, bits);
}

void take_last_vectors(const Execution& on, int64_t n, int64_t rank, const double* vectors, Matrix<float> basis) {
  const dim3 grid(static_cast<unsigned>(ceil_div(n, kSquare)), static_cast<unsigned>(ceil_div(rank, kSquare)));
  launch<take_last_vectors_kernel>(on, grid, dim3(kSquare, kSquare), 0, n, rank, vectors, basis.data, basis.stride);
}

void take_scaled_vectors(const Execution& on, int64_t rows, int64_t rank, const double* products, const double* values,
                         double least, Matrix<float> basis) {
  launch<take_scaled_vectors_kernel>(on, blocks_for(rows * rank, kThreads), kThreads, 0, rows, rank, products, values,
                                     least, basis.data, basis.stride);
}

}  // namespace galleon::cuda

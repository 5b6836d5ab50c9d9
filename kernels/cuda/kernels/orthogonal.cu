// What orthogonalisation does beside products, on Gram matrices.
#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"

namespace galleon::cuda {
namespace {

constexpr float kLeastNorm = 1e-7F;
constexpr int kTraceThreads = 256;

// One block: the trace in double, in a fixed order.
__global__ void gram_factor_kernel(int64_t n, float safety, const float* __restrict__ gram, float* factor) {
  __shared__ double of_threads[kTraceThreads];
  double own = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += kTraceThreads) own += static_cast<double>(gram[i * n + i]);
  of_threads[threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double trace = 0.0;
  for (int i = 0; i < kTraceThreads; ++i) trace += of_threads[i];
  const float norm = __builtin_sqrtf(static_cast<float>(trace));
  // A norm that is no number stays one.
  *factor = 1.0F / (safety * (norm < kLeastNorm ? kLeastNorm : norm));
}

struct SquaredFactor {
  const float* factor;
  __device__ float operator()(float x) const { return x * *factor * *factor; }
};

void normalize_gram(const Execution& on, int64_t n, float safety, float* gram, float* factor) {
  launch<gram_factor_kernel>(on, 1, kTraceThreads, 0, n, safety, gram, factor);
  map(on, 1, n * n, SquaredFactor{factor}, vector_rows(static_cast<const float*>(gram)), vector_rows(gram));
}

struct GramPolynomial {
  OddPolynomial polynomial;
  const float* factor;
  Rows<const float> x;
  Rows<const float> y;
  Rows<float> to;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const float own = factor != nullptr ? *factor : 1.0F;
    const auto from_x = x.load<count>(row, column);
    const auto from_y = y.load<count>(row, column);
    Piece<float, count> sum;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      sum.value[i] = polynomial.b * own * from_x.value[i] + polynomial.c * own * from_y.value[i];
      if (column + i == row) sum.value[i] += polynomial.a * own;
    }
    to.store<count>(row, column, sum);
  }
};

void gram_polynomial(const Execution& on, int64_t n, const OddPolynomial& polynomial, const float* x, const float* y,
                     const float* factor, float* to) {
  const GramPolynomial body{polynomial, factor, rows_of(Matrix<const float>{x, n}), rows_of(Matrix<const float>{y, n}),
                            rows_of(Matrix<float>{to, n})};
  elementwise<Pack<float>::kCount>(on, n, n, body.x.aligned(n) && body.y.aligned(n) && body.to.aligned(n), body);
}

}  // namespace

void fill_orthogonal(OperationTable& table) {
  table.normalize_gram = normalize_gram;
  table.gram_polynomial = gram_polynomial;
}

}  // namespace galleon::cuda

#include "kernels/cpu/loops/loops.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kColumns = 256;  // that one thread sums
constexpr int64_t kRun = 64;       // rows summed together first, so that rounding does not grow with the rows

template <typename T>
void add_bias(const Execution& on, int64_t rows, int64_t n, const T* bias, Matrix<T> y) {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 100))
  for (int64_t row = 0; row < rows; ++row) {
    T* a = y.row(row);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) math::store(a[i], math::load(a[i]) + math::load(bias[i]));
  }
}

template <typename T>
void bias_backward(const Execution& on, int64_t rows, int64_t n, Matrix<const T> dy, float* dbias) {
  const int64_t pieces = ceil_div(n, kColumns);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 100))
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t begin = piece * kColumns;
    const int64_t count = n - begin < kColumns ? n - begin : kColumns;
    float total[kColumns] = {};
    for (int64_t first = 0; first < rows; first += kRun) {
      const int64_t end = first + kRun < rows ? first + kRun : rows;
      float run[kColumns] = {};
      for (int64_t row = first; row < end; ++row) {
        const T* a = dy.row(row) + begin;
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) run[i] += math::load(a[i]);
      }
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) total[i] += run[i];
    }
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) dbias[begin + i] += total[i];
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

}  // namespace galleon::cpu::GALLEON_ISA

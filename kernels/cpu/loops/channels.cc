// Norms of rows and columns, and what scales them.
#include "kernels/cpu/loops/loops.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kColumns = 64;  // whose sums one thread keeps

void row_squares(const Execution& on, int64_t rows, int64_t n, const float* x, float* to) {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 150))
  for (int64_t row = 0; row < rows; ++row) {
    const float* own = x + row * n;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(own[i]) * static_cast<double>(own[i]);
    to[row] = static_cast<float>(sum);
  }
}

void column_squares(const Execution& on, int64_t rows, int64_t n, const float* x, float* to) {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 250))
  for (int64_t first = 0; first < n; first += kColumns) {
    const int64_t count = n - first < kColumns ? n - first : kColumns;
    double sums[kColumns] = {};
    for (int64_t row = 0; row < rows; ++row) {
      const float* own = x + row * n + first;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<double>(own[i]) * static_cast<double>(own[i]);
    }
    for (int64_t i = 0; i < count; ++i) to[first + i] = static_cast<float>(sums[i]);
  }
}

void root_ratios(const Execution& /*on*/, int64_t size, float factor, const float* a, const float* b, float floor,
                 float* to) {
  for (int64_t i = 0; i < size; ++i) {
    const float above = a != nullptr ? __builtin_sqrtf(a[i]) : 1.0F;
    to[i] = factor * above / (__builtin_sqrtf(b[i]) + floor);
  }
}

void scale_channels(const Execution& on, int64_t rows, int64_t n, float factor, const float* common,
                    const float* of_rows, const float* of_columns, float* x) {
  const float all = common != nullptr ? factor * *common : factor;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 150))
  for (int64_t row = 0; row < rows; ++row) {
    float* own = x + row * n;
    const float of_row = of_rows != nullptr ? all * of_rows[row] : all;
    if (of_columns == nullptr) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) own[i] *= of_row;
    } else {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) own[i] *= of_row * of_columns[i];
    }
  }
}

void growth_limit(const Execution& /*on*/, float factor, const float* own, const float* squares, float limit,
                  float* before, float* to) {
  const float size = own != nullptr ? *own : 1.0F;
  const float norm = factor * size * __builtin_sqrtf(*squares);
  const float most = limit * *before;
  const float part = most > 0.0F && norm > most ? most / norm : 1.0F;
  *to = size * part;
  *before = norm * part;
}

}  // namespace

void fill_channels(OperationTable& table) {
  table.row_squares = row_squares;
  table.column_squares = column_squares;
  table.root_ratios = root_ratios;
  table.scale_channels = scale_channels;
  table.growth_limit = growth_limit;
}

}  // namespace galleon::cpu::GALLEON_ISA

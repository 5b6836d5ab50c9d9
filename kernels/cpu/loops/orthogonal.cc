// What orthogonalisation does beside products, on Gram matrices.
#include "kernels/cpu/loops/loops.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr float kLeastNorm = 1e-7F;

void normalize_gram(const Execution& on, int64_t n, float safety, float* gram, float* factor) {
  double trace = 0.0;
  for (int64_t i = 0; i < n; ++i) trace += static_cast<double>(gram[i * n + i]);
  const float norm = __builtin_sqrtf(static_cast<float>(trace));
  // A norm that is no number stays one.
  const float own = 1.0F / (safety * (norm < kLeastNorm ? kLeastNorm : norm));
  *factor = own;
#pragma omp parallel for simd num_threads(on.threads) schedule(static) if (worth_threads(n * n, 100))
  for (int64_t i = 0; i < n * n; ++i) gram[i] = gram[i] * own * own;
}

void gram_polynomial(const Execution& on, int64_t n, const OddPolynomial& polynomial, const float* x, const float* y,
                     const float* factor, float* to) {
  const float own = factor != nullptr ? *factor : 1.0F;
  const float a = polynomial.a * own;
  const float b = polynomial.b * own;
  const float c = polynomial.c * own;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(n * n, 150))
  for (int64_t row = 0; row < n; ++row) {
    const float* from_x = x + row * n;
    const float* from_y = y + row * n;
    float* own_row = to + row * n;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) own_row[i] = b * from_x[i] + c * from_y[i];
    own_row[row] += a;
  }
}

}  // namespace

void fill_orthogonal(OperationTable& table) {
  table.normalize_gram = normalize_gram;
  table.gram_polynomial = gram_polynomial;
}

}  // namespace galleon::cpu::GALLEON_ISA

// Cross-entropy, a row at a time: the row's maximum, the exponentials and their sum, then the gradient.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/exponential.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

GALLEON_FORMULA float maximum(int64_t n, const float* x) {
  float largest = x[0];
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

void cross_entropy(const Execution& on, int64_t rows, int64_t n, float* logits, int64_t ldl, const int32_t* targets,
                   float scale, float* losses) {
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 4) if (rows * n > 8192)
  for (int64_t row = 0; row < rows; ++row) {
    float* x = logits + row * ldl;
    const int32_t target = targets[row];
    if (target < 0) {
      for (int64_t i = 0; i < n; ++i) x[i] = 0.0F;
      losses[row] = 0.0F;
      continue;
    }
    const float largest = maximum(n, x);
    const float at_target = x[target];
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) {
      const float e = math::exponential(x[i] - largest);
      x[i] = e;
      sum += e;
    }
    losses[row] = __builtin_logf(sum) + (largest - at_target);
    const float factor = scale / sum;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) x[i] *= factor;
    x[target] -= scale;
  }
}

void cross_entropy_forward(const Execution& on, int64_t rows, int64_t n, const float* logits, int64_t ldl,
                           const int32_t* targets, float* losses) {
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 4) if (rows * n > 8192)
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = logits + row * ldl;
    const int32_t target = targets[row];
    if (target < 0) {
      losses[row] = 0.0F;
      continue;
    }
    const float largest = maximum(n, x);
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += math::exponential(x[i] - largest);
    losses[row] = __builtin_logf(sum) + (largest - x[target]);
  }
}

}  // namespace

void fill_loss(OperationTable& table) {
  table.cross_entropy = cross_entropy;
  table.cross_entropy_forward = cross_entropy_forward;
}

}  // namespace galleon::cpu::GALLEON_ISA

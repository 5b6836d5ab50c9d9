// Cross-entropy, a row at a time: the row's maximum, the exponentials and their sum, then the gradient.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/exponential.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

// Exponentials are summed in runs, so that rounding does not grow with the vocabulary.
constexpr int64_t kRun = 1024;

GALLEON_FORMULA float maximum(int64_t n, const float* x) {
  // Four walks at once: one alone waits for each comparison.
  const int64_t quarter = n / 4;
  float a = x[0];
  float b = x[0];
  float c = x[0];
  float d = x[0];
#pragma omp simd reduction(max : a, b, c, d)
  for (int64_t i = 0; i < quarter; ++i) {
    a = x[i] > a ? x[i] : a;
    b = x[quarter + i] > b ? x[quarter + i] : b;
    c = x[2 * quarter + i] > c ? x[2 * quarter + i] : c;
    d = x[3 * quarter + i] > d ? x[3 * quarter + i] : d;
  }
  for (int64_t i = 4 * quarter; i < n; ++i) a = x[i] > a ? x[i] : a;
  a = b > a ? b : a;
  c = d > c ? d : c;
  return c > a ? c : a;
}

GALLEON_FORMULA void scale_row(int64_t n, const float* x, float factor, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * factor;
}

// y may lie over x: a run is read before its place, the first half of what was read already, is written.
GALLEON_FORMULA void scale_row(int64_t n, const float* x, float factor, BFloat16* y) {
  for (int64_t begin = 0; begin < n; begin += kRun) {
    const int64_t count = n - begin < kRun ? n - begin : kRun;
    float run[kRun];
    __builtin_memcpy(run, x + begin, static_cast<std::size_t>(count) * sizeof(float));
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) math::store(y[begin + i], run[i] * factor);
  }
}

template <typename T>
void cross_entropy(const Execution& on, const CrossEntropy<T>& args) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 4) if (worth_threads(rows * n, 400))
  for (int64_t row = 0; row < rows; ++row) {
    float* x = args.logits.row(row);
    T* g = args.gradient.row(row);
    const int32_t target = args.targets[row];
    if (target < 0) {
      for (int64_t i = 0; i < n; ++i) math::store(g[i], 0.0F);
      args.losses[row] = 0.0F;
      continue;
    }
    const float largest = maximum(n, x);
    const float at_target = x[target];
    float sum = 0.0F;
    for (int64_t begin = 0; begin < n; begin += kRun) {
      const int64_t end = begin + kRun < n ? begin + kRun : n;
      float run = 0.0F;
#pragma omp simd reduction(+ : run)
      for (int64_t i = begin; i < end; ++i) {
        const float e = math::exponential_of_negative(x[i] - largest);
        x[i] = e;
        run += e;
      }
      sum += run;
    }
    args.losses[row] = __builtin_logf(sum) + (largest - at_target);
    const float share = 1.0F + 2.0F * args.z_loss * (__builtin_logf(sum) + largest);
    const float factor = args.scale / sum * share;
    const float right = x[target] * factor - args.scale;
    scale_row(n, x, factor, g);
    math::store(g[target], right);
  }
}

void cross_entropy_forward(const Execution& on, int64_t rows, int64_t n, Matrix<const float> logits,
                           const int32_t* targets, float* losses) {
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 4) if (worth_threads(rows * n, 400))
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = logits.row(row);
    const int32_t target = targets[row];
    if (target < 0) {
      losses[row] = 0.0F;
      continue;
    }
    const float largest = maximum(n, x);
    float sum = 0.0F;
    for (int64_t begin = 0; begin < n; begin += kRun) {
      const int64_t end = begin + kRun < n ? begin + kRun : n;
      float run = 0.0F;
#pragma omp simd reduction(+ : run)
      for (int64_t i = begin; i < end; ++i) run += math::exponential_of_negative(x[i] - largest);
      sum += run;
    }
    losses[row] = __builtin_logf(sum) + (largest - x[target]);
  }
}

void squared_error(const Execution&, int64_t rows, Matrix<const float> outputs, const float* labels, float scale,
                   float* losses, Matrix<float> gradient) {
  for (int64_t row = 0; row < rows; ++row) {
    const float error = *outputs.row(row) - labels[row];
    losses[row] = error * error;
    if (gradient.data != nullptr) *gradient.row(row) = 2.0F * error * scale;
  }
}

}  // namespace

void fill_loss(OperationTable& table) {
  table.f32.cross_entropy = cross_entropy<float>;
  table.bf16.cross_entropy = cross_entropy<BFloat16>;
  table.cross_entropy_forward = cross_entropy_forward;
  table.squared_error = squared_error;
}

}  // namespace galleon::cpu::GALLEON_ISA

// RMS normalisation by rows.
#include "kernels/cpu/loops/row_chunks.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

template <typename T>
GALLEON_FORMULA void scale_row(int64_t n, const T* x, float inverse, const T* weight, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) math::store(y[i], math::load(x[i]) * inverse * math::load(weight[i]));
}

template <typename T>
void rms_norm(const Execution& on, const RmsNorm<T>& args) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 200))
  for (int64_t row = 0; row < rows; ++row) {
    T* a = args.x.row(row);
    float squares = 0.0F;
    if (args.delta.data != nullptr) {
      const T* d = args.delta.row(row);
#pragma omp simd reduction(+ : squares)
      for (int64_t i = 0; i < n; ++i) {
        // The sum counts as it is stored, so that the backward recomputes the same output.
        math::store(a[i], math::load(a[i]) + math::load(d[i]));
        const float value = math::load(a[i]);
        squares += value * value;
      }
    } else {
#pragma omp simd reduction(+ : squares)
      for (int64_t i = 0; i < n; ++i) squares += math::load(a[i]) * math::load(a[i]);
    }
    const float inverse = 1.0F / __builtin_sqrtf(squares / static_cast<float>(n) + args.epsilon);
    args.inverse_rms[row] = inverse;
    scale_row(n, a, inverse, args.weight, args.y.row(row));
  }
}

template <typename T>
void rms_norm_recompute(const Execution& on, const RmsNormRecompute<T>& args) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 100))
  for (int64_t row = 0; row < rows; ++row) {
    scale_row(n, args.x.row(row), args.inverse_rms[row], args.weight, args.y.row(row));
  }
}

int64_t rms_norm_backward_workspace(int64_t rows, int64_t n) {
  return chunks_of(rows) * n * static_cast<int64_t>(sizeof(float));
}

// With y_i = x_i·s·w_i and s = 1/rms: dx_i = s·w_i·dy_i − x_i·s³/n·Σ_j dy_j·w_j·x_j, dw_i = Σ_rows dy_i·x_i·s.
template <typename T>
void rms_norm_backward(const Execution& on, const RmsNormBackward<T>& args, void* scratch) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
  const T* weight = args.weight;
  float* dweight = args.dweight;
  float* partial = static_cast<float*>(scratch);
  const int64_t chunks = chunks_of(rows);
  const int64_t height = chunk_rows(rows);
#pragma omp parallel num_threads(on.threads) if (worth_threads(rows * n, 400))
  {
#pragma omp for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      float* dw = partial + chunk * n;
      for (int64_t i = 0; i < n; ++i) dw[i] = 0.0F;
      const int64_t end = (chunk + 1) * height < rows ? (chunk + 1) * height : rows;
      for (int64_t row = chunk * height; row < end; ++row) {
        const T* a = args.x.row(row);
        const T* d = args.dy.row(row);
        T* out = args.dx.row(row);
        const float s = args.inverse_rms[row];
        float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < n; ++i) {
          const float product = math::load(d[i]) * math::load(a[i]);
          dot += product * math::load(weight[i]);
          dw[i] += product * s;
        }
        const float common = dot * s * s * s / static_cast<float>(n);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
          const float own = s * math::load(weight[i]) * math::load(d[i]) - math::load(a[i]) * common;
          math::store(out[i], math::load(out[i]) + own);
        }
      }
    }
#pragma omp for schedule(static)
    for (int64_t i = 0; i < (dweight != nullptr ? n : 0); ++i) {
      float sum = 0.0F;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * n + i];
      dweight[i] += sum;
    }
  }
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.rms_norm = rms_norm<T>;
  table.rms_norm_recompute = rms_norm_recompute<T>;
  table.rms_norm_backward = rms_norm_backward<T>;
  table.rms_norm_backward_workspace = rms_norm_backward_workspace;
}

}  // namespace

void fill_norm(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
}

}  // namespace galleon::cpu::GALLEON_ISA

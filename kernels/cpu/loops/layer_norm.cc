// Layer normalisation by rows.
#include "kernels/cpu/loops/row_chunks.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

template <typename T>
GALLEON_FORMULA void normalize_row(int64_t n, const T* x, float mean, float inverse, const T* weight, const T* bias,
                                   T* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i)
    math::store(y[i], (math::load(x[i]) - mean) * inverse * math::load(weight[i]) + math::load(bias[i]));
}

template <typename T>
void layer_norm(const Execution& on, const LayerNorm<T>& args) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 300))
  for (int64_t row = 0; row < rows; ++row) {
    T* a = args.x.row(row);
    float sum = 0.0F;
    if (args.delta.data != nullptr) {
      const T* d = args.delta.row(row);
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < n; ++i) {
        // The sum counts as it is stored, so that the backward recomputes the same output.
        math::store(a[i], math::load(a[i]) + math::load(d[i]));
        sum += math::load(a[i]);
      }
    } else {
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < n; ++i) sum += math::load(a[i]);
    }
    const float mean = sum / static_cast<float>(n);
    // In a second pass: the difference of two sums of squares would lose the variance beside a large mean.
    float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; ++i) {
      const float centred = math::load(a[i]) - mean;
      squares += centred * centred;
    }
    const float inverse = 1.0F / __builtin_sqrtf(squares / static_cast<float>(n) + args.epsilon);
    args.statistics[2 * row] = mean;
    args.statistics[2 * row + 1] = inverse;
    normalize_row(n, a, mean, inverse, args.weight, args.bias, args.y.row(row));
  }
}

template <typename T>
void layer_norm_recompute(const Execution& on, const LayerNormRecompute<T>& args) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 120))
  for (int64_t row = 0; row < rows; ++row) {
    const float* of_row = args.statistics + 2 * row;
    normalize_row(n, args.x.row(row), of_row[0], of_row[1], args.weight, args.bias, args.y.row(row));
  }
}

int64_t layer_norm_backward_workspace(int64_t rows, int64_t n) {
  return 2 * chunks_of(rows) * n * static_cast<int64_t>(sizeof(float));
}

// With x̂ = (x − mean)·s, y = x̂·w + b and g = dy·w: dx = s·(g − mean(g) − x̂·mean(g·x̂)), dw = Σ_rows dy·x̂, db = Σ_rows
// dy.
template <typename T>
void layer_norm_backward(const Execution& on, const LayerNormBackward<T>& args, void* scratch) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
  const T* weight = args.weight;
  float* partial = static_cast<float*>(scratch);
  const int64_t chunks = chunks_of(rows);
  const int64_t height = chunk_rows(rows);
  const float share = 1.0F / static_cast<float>(n);
#pragma omp parallel num_threads(on.threads) if (worth_threads(rows * n, 500))
  {
#pragma omp for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      float* dw = partial + 2 * chunk * n;
      float* db = dw + n;
      for (int64_t i = 0; i < 2 * n; ++i) dw[i] = 0.0F;
      const int64_t end = (chunk + 1) * height < rows ? (chunk + 1) * height : rows;
      for (int64_t row = chunk * height; row < end; ++row) {
        const T* a = args.x.row(row);
        const T* d = args.dy.row(row);
        T* out = args.dx.row(row);
        const float mean = args.statistics[2 * row];
        const float inverse = args.statistics[2 * row + 1];
        float sum = 0.0F;
        float dot = 0.0F;
#pragma omp simd reduction(+ : sum, dot)
        for (int64_t i = 0; i < n; ++i) {
          const float gradient = math::load(d[i]);
          const float normal = (math::load(a[i]) - mean) * inverse;
          const float weighted = gradient * math::load(weight[i]);
          sum += weighted;
          dot += weighted * normal;
          dw[i] += gradient * normal;
          db[i] += gradient;
        }
        const float level = sum * share;
        const float slope = dot * share;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
          const float normal = (math::load(a[i]) - mean) * inverse;
          math::store(out[i], inverse * (math::load(d[i]) * math::load(weight[i]) - level - normal * slope));
        }
      }
    }
#pragma omp for schedule(static)
    for (int64_t i = 0; i < n; ++i) {
      float dw = 0.0F;
      float db = 0.0F;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        dw += partial[2 * chunk * n + i];
        db += partial[2 * chunk * n + n + i];
      }
      if (args.dweight != nullptr) args.dweight[i] += dw;
      if (args.dbias != nullptr) args.dbias[i] += db;
    }
  }
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.layer_norm = layer_norm<T>;
  table.layer_norm_recompute = layer_norm_recompute<T>;
  table.layer_norm_backward = layer_norm_backward<T>;
  table.layer_norm_backward_workspace = layer_norm_backward_workspace;
}

}  // namespace

void fill_layer_norm(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
}

}  // namespace galleon::cpu::GALLEON_ISA

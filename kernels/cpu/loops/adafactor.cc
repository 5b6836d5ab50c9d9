// Adafactor. Sums over rows are formed in double within pieces of rows whose number depends on the shape alone, and
// added in the order of the pieces, so that threads do not change the result.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kMostPieces = 32;
constexpr int64_t kLeastRows = 16;

int64_t pieces_of(int64_t rows) {
  const int64_t wanted = ceil_div(rows, kLeastRows);
  return wanted < kMostPieces ? wanted : kMostPieces;
}

int64_t adafactor_sums_workspace(int64_t rows, int64_t n) {
  return pieces_of(rows) * (2 * n + 1) * static_cast<int64_t>(sizeof(double));
}

void adafactor_sums(const Execution& on, int64_t rows, int64_t n, const AdafactorRule& rule, const float* r,
                    float* row_factors, float* sums, void* scratch) {
  const float beta2 = rule.beta2;
  const float epsilon = rule.epsilon;
  const float gradient_scale = rule.gradient_scale;
  double* partial = static_cast<double*>(scratch);
  const int64_t pieces = pieces_of(rows);
  const int64_t width = 2 * n + 1;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 600))
  for (int64_t piece = 0; piece < pieces; ++piece) {
    double* squares = partial + piece * width;
    double* ratios = squares + n;
    double factors = 0.0;
    for (int64_t j = 0; j < 2 * n; ++j) squares[j] = 0.0;
    for (int64_t i = piece * rows / pieces; i < (piece + 1) * rows / pieces; ++i) {
      const float* g = r + i * n;
      double row = 0.0;
#pragma omp simd reduction(+ : row)
      for (int64_t j = 0; j < n; ++j) {
        const float scaled = g[j] * gradient_scale;
        row += static_cast<double>(scaled * scaled + epsilon);
      }
      const float factor = beta2 * row_factors[i] + (1.0F - beta2) * static_cast<float>(row / static_cast<double>(n));
      row_factors[i] = factor;
      factors += static_cast<double>(factor);
      const double inverse = 1.0 / static_cast<double>(factor);
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) {
        const float scaled = g[j] * gradient_scale;
        const float square = scaled * scaled;
        squares[j] += static_cast<double>(square + epsilon);
        ratios[j] += static_cast<double>(square) * inverse;
      }
    }
    ratios[n] = factors;
  }
#pragma omp simd
  for (int64_t j = 0; j < width; ++j) {
    double total = 0.0;
    for (int64_t piece = 0; piece < pieces; ++piece) total += partial[piece * width + j];
    sums[j] = static_cast<float>(total);
  }
}

int64_t adafactor_update_workspace(int64_t n) {
  return n * static_cast<int64_t>(sizeof(float));
}

// u / max(1, rms / clip)·learning rate, averaged into m where there is one.
GALLEON_FORMULA void finish_row(int64_t n, float factor, float beta1, float* g, float* m) {
  if (m == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) g[j] *= factor;
    return;
  }
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const float moment = beta1 * m[j] + (1.0F - beta1) * (g[j] * factor);
    m[j] = moment;
    g[j] = moment;
  }
}

GALLEON_FORMULA float clipped(double mean_square, float clip) {
  const double ratio = __builtin_sqrt(mean_square) / static_cast<double>(clip);
  return static_cast<float>(ratio > 1.0 ? 1.0 / ratio : 1.0);
}

void adafactor_update(const Execution& on, const AdafactorUpdate& args, void* scratch) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
  const int64_t all_rows = args.all_rows;
  const AdafactorRule& rule = args.rule;
  const float* sums = args.sums;
  float* column_factors = args.column_factors;
  float* inverse = static_cast<float*>(scratch);
  const double mean_factor = static_cast<double>(sums[2 * n]) / static_cast<double>(all_rows);
  double squares = 0.0;
  for (int64_t j = 0; j < n; ++j) {
    const float mean = static_cast<float>(static_cast<double>(sums[j]) / static_cast<double>(all_rows));
    const float factor = rule.beta2 * column_factors[j] + (1.0F - rule.beta2) * mean;
    column_factors[j] = factor;
    inverse[j] = 1.0F / __builtin_sqrtf(factor);
    squares += static_cast<double>(sums[n + j]) / static_cast<double>(factor);
  }
  const double numbers = static_cast<double>(all_rows) * static_cast<double>(n);
  const float shared = clipped(squares * mean_factor / numbers, rule.clip) * rule.learning_rate * rule.gradient_scale;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 300))
  for (int64_t i = 0; i < rows; ++i) {
    float* g = args.r + i * n;
    const double of_row = __builtin_sqrt(mean_factor / static_cast<double>(args.row_factors[i]));
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) g[j] *= inverse[j];
    finish_row(n, static_cast<float>(of_row) * shared, rule.beta1, g, args.m == nullptr ? nullptr : args.m + i * n);
  }
}

void adafactor_vector_sums(const Execution&, int64_t n, const AdafactorRule& rule, const float* r, float* v,
                           float* sums) {
  const float beta2 = rule.beta2;
  const float epsilon = rule.epsilon;
  const float gradient_scale = rule.gradient_scale;
  double total = 0.0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) {
    const float scaled = r[i] * gradient_scale;
    const float square = scaled * scaled;
    const float factor = beta2 * v[i] + (1.0F - beta2) * (square + epsilon);
    v[i] = factor;
    total += static_cast<double>(square) / static_cast<double>(factor);
  }
  sums[0] = static_cast<float>(total);
}

void adafactor_vector_update(const Execution&, int64_t n, int64_t all, const AdafactorRule& rule, float* r,
                             const float* v, const float* sums, float* m) {
  const float shared = clipped(static_cast<double>(sums[0]) / static_cast<double>(all), rule.clip) *
                       rule.learning_rate * rule.gradient_scale;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) r[i] /= __builtin_sqrtf(v[i]);
  finish_row(n, shared, rule.beta1, r, m);
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

}  // namespace galleon::cpu::GALLEON_ISA

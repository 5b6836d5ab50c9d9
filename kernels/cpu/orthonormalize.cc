// Orthonormal bases: by Cholesky's factor of the Gram matrix, which is all products, and where the columns are too
// nearly dependent for that, by Householder's reflections or column by column.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/blas.h"
#include "kernels/cpu/lapack.h"

namespace galleon::cpu {
namespace {

int64_t qr_work(int64_t rows, int64_t rank) {
  const int m = static_cast<int>(rows);
  const int n = static_cast<int>(rank);
  return std::max(
      asked("sgeqrf", [&](float* w, const int* l, int* info) { sgeqrf_(&m, &n, nullptr, &m, nullptr, w, l, info); }),
      asked("sorgqr",
            [&](float* w, const int* l, int* info) { sorgqr_(&m, &n, &n, nullptr, &m, nullptr, w, l, info); }));
}

int64_t householder_workspace(int64_t rows, int64_t rank) {
  return piece_bytes(rows * rank * kFloat) + piece_bytes(rank * kFloat) + piece_bytes(qr_work(rows, rank) * kFloat) +
         piece_bytes(rank * static_cast<int64_t>(sizeof(int)));
}

// v ← v − Q·(Qᵀ·v) over the columns of q that `use` names, twice, in double: once leaves a component as large as the
// rounding of what was taken away.
void take_out(int64_t rows, const float* q, const int* use, int64_t used, float* v) {
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t u = 0; u < used; ++u) {
      const float* column = q + use[u] * rows;
      double dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t i = 0; i < rows; ++i) dot += static_cast<double>(column[i]) * static_cast<double>(v[i]);
#pragma omp simd
      for (int64_t i = 0; i < rows; ++i) v[i] -= static_cast<float>(dot * static_cast<double>(column[i]));
    }
  }
}

double norm(int64_t rows, const float* v) {
  double squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < rows; ++i) squares += static_cast<double>(v[i]) * static_cast<double>(v[i]);
  return std::sqrt(squares);
}

void multiply(int64_t rows, float* v, double factor) {
#pragma omp simd
  for (int64_t i = 0; i < rows; ++i) v[i] = static_cast<float>(static_cast<double>(v[i]) * factor);
}

constexpr double kDependent = 1e-5;  // of the largest column norm

// The path for dependent columns: column by column, so that replacing one changes no other. What Householder with a
// positive diagonal gives for the independent columns; the others follow at the end.
void orthonormalize_columns(const Execution& on, int64_t rows, int64_t rank, uint64_t seed, double largest, float* q,
                            int* use) {
  OperationTable table{};
  baseline::fill_random(table);
  int64_t used = 0;
  int* missing = use + rank;
  int64_t gaps = 0;
  for (int64_t j = 0; j < rank; ++j) {
    float* v = q + j * rows;
    take_out(rows, q, use, used, v);
    const double length = norm(rows, v);
    if (length <= kDependent * largest) {
      missing[-++gaps] = static_cast<int>(j);  // filled from the end, where `use` cannot reach
      continue;
    }
    multiply(rows, v, 1.0 / length);
    use[used++] = static_cast<int>(j);
  }
  while (gaps > 0) {
    const int j = missing[-gaps];
    float* v = q + j * rows;
    // A random direction is almost surely independent; a next piece of the same stream is taken if it is not.
    for (int64_t first = 0;; first += rows) {
      table.fill_normal(on, rows, {seed, static_cast<uint64_t>(j), first, 0.0F, 1.0F}, v);
      const double before = norm(rows, v);
      take_out(rows, q, use, used, v);
      const double after = norm(rows, v);
      if (after <= kDependent * before) continue;
      multiply(rows, v, 1.0 / after);
      take_out(rows, q, use, used, v);
      multiply(rows, v, 1.0 / norm(rows, v));
      break;
    }
    --gaps;
    // The slot that `missing` gives up is free for `use` at the same time, so they never collide.
    use[used++] = j;
  }
}

// Householder's reflections, and column by column where columns depend on each other.
void orthonormalize_surely(const Execution& on, int64_t rows, int64_t rank, Matrix<float> y, uint64_t seed,
                           void* scratch) {
  Pieces pieces(scratch);
  float* q = pieces.floats(rows * rank);
  float* tau = pieces.floats(rank);
  const int64_t lwork = qr_work(rows, rank);
  float* work = pieces.floats(lwork);
  int* use = pieces.ints(rank);

  // A power of two brings the largest number near 1, so that no square over- or underflows.
  const float scale = power_of_two_scale(rows, rank, y);
  gather(on, rows, rank, y, scale, q);
  double largest = 0;
  for (int64_t j = 0; j < rank; ++j) largest = std::max(largest, norm(rows, q + j * rows));

  const int m = static_cast<int>(rows);
  const int n = static_cast<int>(rank);
  const int work_length = static_cast<int>(lwork);
  int info = 0;
  sgeqrf_(&m, &n, q, &m, tau, work, &work_length, &info);
  GALLEON_CHECK(info == 0) << "sgeqrf of " << rows << "x" << rank << " gave " << info;
  bool independent = true;
  for (int64_t j = 0; j < rank; ++j) {
    const float diagonal = q[j * rows + j];
    independent = independent && std::fabs(diagonal) > kDependent * largest;
    use[j] = diagonal < 0.0F ? -1 : 1;
  }
  if (independent) {
    sorgqr_(&m, &n, &n, q, &m, tau, work, &work_length, &info);
    GALLEON_CHECK(info == 0) << "sorgqr of " << rows << "x" << rank << " gave " << info;
    for (int64_t j = 0; j < rank; ++j) {
      if (use[j] < 0) multiply(rows, q + j * rows, -1.0);
    }
  } else {
    gather(on, rows, rank, y, scale, q);
    orthonormalize_columns(on, rows, rank, seed, largest, q, use);
  }
  scatter(on, rows, rank, q, y);
}

// Rows are dealt out to pieces of work whose number depends on the shape alone, so that sums do not depend on threads.
// A large triangle is left to the threads of the BLAS instead, since each piece has a triangle of its own.
int64_t pieces_of(int64_t rows, int64_t rank) {
  return rank > 256 ? 1 : std::clamp<int64_t>(rows * rank / (int64_t{1} << 14), 1, 8);
}
constexpr int64_t kGramRows = 128;  // converted to double at a time

int64_t cholesky_workspace(int64_t rows, int64_t rank) {
  return pieces_of(rows, rank) * (piece_bytes(kGramRows * rank * kDouble) + piece_bytes(rank * rank * kDouble)) +
         piece_bytes(rank * rank * kFloat);
}

// gram ← (scale·y)ᵀ(scale·y) of `count` rows, its upper triangle to LAPACK. Products of floats are exact in double, so
// what a column adds to the span of others shows down to 1e-7 of its length.
void gram_matrix(int64_t count, int64_t rank, Matrix<const float> y, float scale, double* converted, double* gram) {
  const int n = static_cast<int>(rank);
  for (int64_t first = 0; first < count; first += kGramRows) {
    const int64_t rows = std::min(kGramRows, count - first);
    for (int64_t i = 0; i < rows; ++i) {
      const float* row = y.row(first + i);
      double* to = converted + i * rank;
      for (int64_t j = 0; j < rank; ++j) to[j] = static_cast<double>(row[j] * scale);
    }
    cblas_dsyrk(CblasColMajor, CblasUpper, CblasNoTrans, n, static_cast<int>(rows), 1.0, converted, n,
                first == 0 ? 0.0 : 1.0, gram, n);
  }
}

// Cholesky-QR, twice, since once leaves an error as large as y's condition times rounding (Yamamoto et al. 2015). The
// triangle has a positive diagonal, so that the basis is the one that Householder's reflections give. False where
// columns are too nearly dependent: y is then as it was, or has another basis of the same flag of spaces.
bool orthonormalize_by_cholesky(const Execution& on, int64_t rows, int64_t rank, Matrix<float> y, float scale,
                                void* scratch) {
  Pieces memory(scratch);
  const int64_t pieces = pieces_of(rows, rank);
  double* grams = memory.doubles(pieces * piece_bytes(rank * rank * kDouble) / kDouble);
  double* converted = memory.doubles(pieces * piece_bytes(kGramRows * rank * kDouble) / kDouble);
  float* inverse = memory.floats(rank * rank);
  const int64_t gram_stride = piece_bytes(rank * rank * kDouble) / kDouble;
  const int64_t converted_stride = piece_bytes(kGramRows * rank * kDouble) / kDouble;
  const int64_t piece_rows = ceil_div(rows, pieces);
  auto rows_of = [&](int64_t piece) { return std::min(piece_rows, rows - piece * piece_rows); };
  double* gram = grams;
  const int n = static_cast<int>(rank);
  for (const bool second : {false, true}) {
    const float factor = second ? 1.0F : scale;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (pieces > 1)
    for (int64_t p = 0; p < pieces; ++p) {
      gram_matrix(rows_of(p), rank, {y.row(p * piece_rows), y.stride}, factor, converted + p * converted_stride,
                  grams + p * gram_stride);
    }
    for (int64_t p = 1; p < pieces; ++p) {
      const double* other = grams + p * gram_stride;
      for (int64_t j = 0; j < rank; ++j) {
        for (int64_t i = 0; i <= j; ++i) gram[j * rank + i] += other[j * rank + i];
      }
    }
    double largest = 0;
    for (int64_t j = 0; j < rank; ++j) largest = std::max(largest, gram[j * rank + j]);
    if (second) {
      for (int64_t j = 0; j < rank; ++j) {
        for (int64_t i = 0; i <= j; ++i) {
          if (std::fabs(gram[j * rank + i] - (i == j ? 1.0 : 0.0)) > 0.1) return false;
        }
      }
    }
    int info = 0;
    dpotrf_("U", &n, gram, &n, &info);
    if (info != 0) return false;
    for (int64_t j = 0; j < rank; ++j) {
      if (gram[j * rank + j] <= kDependent * std::sqrt(largest)) return false;
    }
    dtrtri_("U", "N", &n, gram, &n, &info);
    if (info != 0) return false;
    for (int64_t j = 0; j < rank; ++j) {
      for (int64_t i = 0; i < rank; ++i) {
        inverse[j * rank + i] = i <= j ? static_cast<float>(gram[j * rank + i]) * factor : 0.0F;
      }
    }
#pragma omp parallel for num_threads(on.threads) schedule(static) if (pieces > 1)
    for (int64_t p = 0; p < pieces; ++p) {
      cblas_strmm(CblasColMajor, CblasLeft, CblasUpper, CblasTrans, CblasNonUnit, n, static_cast<int>(rows_of(p)), 1.0F,
                  inverse, n, y.row(p * piece_rows), static_cast<int>(y.stride));
    }
  }
  return true;
}

int64_t orthonormalize_workspace(int64_t rows, int64_t rank) {
  return std::max(householder_workspace(rows, rank), cholesky_workspace(rows, rank));
}

bool orthonormalize(const Execution& on, int64_t rows, int64_t rank, Matrix<float> y, uint64_t seed, void* scratch) {
  const BlasThreads threads(rows * rank <= int64_t{1} << 19 ? 1 : on.threads);
  // A power of two brings the largest number near 1, so that no square over- or underflows.
  const float scale = power_of_two_scale(rows, rank, y);
  if (!orthonormalize_by_cholesky(on, rows, rank, y, scale, scratch)) {
    orthonormalize_surely(on, rows, rank, y, seed, scratch);
  }
  return true;
}

}  // namespace

void fill_orthonormal_operations(OperationTable& table) {
  table.orthonormalize = orthonormalize;
  table.orthonormalize_workspace = orthonormalize_workspace;
}

}  // namespace galleon::cpu

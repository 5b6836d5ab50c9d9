// Matrix products on OpenBLAS.
#include <omp.h>

#include <algorithm>
#include <limits>

#include "common/base/check.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/loops/loops.h"

namespace galleon::cpu {

// OpenBLAS takes its number of threads from OpenMP's setting of the calling thread, and keeps one of its own: both are
// set.
void use_blas_threads(int threads) {
  if (omp_get_max_threads() != threads || openblas_get_num_threads() != threads) openblas_set_num_threads(threads);
}

namespace {

blasint blas_size(int64_t size) {
  GALLEON_CHECK(size <= std::numeric_limits<blasint>::max()) << size << " is too large for the BLAS";
  return static_cast<blasint>(std::max<int64_t>(size, 1));
}

int64_t matmul_workspace(bool, bool, int64_t, int64_t, int64_t) {
  return 0;
}

void product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
             int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
              blas_size(m), blas_size(n), static_cast<blasint>(k), alpha, a, blas_size(lda), b, blas_size(ldb), beta, c,
              blas_size(ldc));
}

// OpenBLAS's threads wait for one another's packed panels, which costs a thin product a tenth of its time. Such a
// product is cut along its longer side instead, a piece to each thread; inside a parallel region OpenBLAS stays on the
// calling thread.
constexpr int64_t kThin = 256;
constexpr int64_t kPieceMultiple = 16;  // columns or rows of a piece, so that kernels meet whole vectors

int64_t thin_pieces(int threads, int64_t m, int64_t n, int64_t k) {
  if (threads <= 1 || std::min(m, n) > kThin || m * n * k < int64_t{1} << 22) return 1;
  return std::min<int64_t>(threads, std::max(m, n) / (4 * kPieceMultiple));
}

}  // namespace

void matmul(const Execution& on, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
            const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc, void*) {
  // OpenBLAS alone would start threads for a tenth of what is worth it.
  use_blas_threads(worth_threads(m * n * k, 20) ? on.threads : 1);
  const int64_t pieces = thin_pieces(on.threads, m, n, k);
  if (pieces <= 1) {
    product(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return;
  }
  const bool by_rows = m >= n;
  const int64_t length = by_rows ? m : n;
  const int64_t step = (length + pieces * kPieceMultiple - 1) / (pieces * kPieceMultiple) * kPieceMultiple;
#pragma omp parallel for num_threads(on.threads) schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t begin = piece * step;
    const int64_t count = std::min(step, length - begin);
    if (count <= 0) continue;
    if (by_rows) {
      product(transpose_a, transpose_b, count, n, k, alpha, a + begin * (transpose_a ? 1 : lda), lda, b, ldb, beta,
              c + begin * ldc, ldc);
    } else {
      product(transpose_a, transpose_b, m, count, k, alpha, a, lda, b + begin * (transpose_b ? ldb : 1), ldb, beta,
              c + begin, ldc);
    }
  }
}

void fill_gemm_operations(OperationTable& table) {
  table.matmul = matmul;
  table.matmul_workspace = matmul_workspace;
}

}  // namespace galleon::cpu

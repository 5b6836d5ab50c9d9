// Matrix products on OpenBLAS.
#include <omp.h>

#include <algorithm>
#include <limits>

#include "common/base/check.h"
#include "kernels/cpu/blas.h"

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

}  // namespace

void matmul(const Execution& on, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
            const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc, void*) {
  use_blas_threads(on.threads);
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
              static_cast<blasint>(m), static_cast<blasint>(n), static_cast<blasint>(k), alpha, a, blas_size(lda), b,
              blas_size(ldb), beta, c, blas_size(ldc));
}

void fill_gemm_operations(OperationTable& table) {
  table.matmul = matmul;
  table.matmul_workspace = matmul_workspace;
}

}  // namespace galleon::cpu

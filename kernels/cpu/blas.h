// OpenBLAS and its LAPACK, with the number of threads of the device that calls.
#pragma once

#include <cblas.h>

#include <mutex>

#include "kernels/operation_table.h"

namespace galleon::cpu {

// While it lives, the BLAS computes for the calling thread on this number of threads. OpenBLAS has one number of
// threads for the whole process, with memory for each of them: a change takes that memory away from whoever computes
// with it. So only one thread of the process at a time has more than one; a call that stays on its own thread (and any
// call inside a parallel region) uses nothing that is shared, and waits for nobody. Not to be nested.
class BlasThreads {
 public:
  explicit BlasThreads(int threads);

 private:
  std::unique_lock<std::mutex> lock_;
};

// `generated`: products in bf16 are those of oneDNN, where it has them for this machine.
void fill_gemm_operations(OperationTable& table, bool generated);
void fill_singular_vector_operations(OperationTable& table);
void fill_orthonormal_operations(OperationTable& table);

}  // namespace galleon::cpu

// LAPACK as Fortran exports it: column-major, everything by address.
// NOLINTBEGIN(readability-identifier-naming)
extern "C" {
void sgebrd_(const int* m, const int* n, float* a, const int* lda, float* d, float* e, float* tauq, float* taup,
             float* work, const int* lwork, int* info);
void sbdsdc_(const char* uplo, const char* compq, const int* n, float* d, float* e, float* u, const int* ldu, float* vt,
             const int* ldvt, float* q, int* iq, float* work, int* iwork, int* info);
void sormbr_(const char* vect, const char* side, const char* trans, const int* m, const int* n, const int* k,
             const float* a, const int* lda, const float* tau, float* c, const int* ldc, float* work, const int* lwork,
             int* info);
void sormqr_(const char* side, const char* trans, const int* m, const int* n, const int* k, const float* a,
             const int* lda, const float* tau, float* c, const int* ldc, float* work, const int* lwork, int* info);
void sgeqrf_(const int* m, const int* n, float* a, const int* lda, float* tau, float* work, const int* lwork,
             int* info);
void sorgqr_(const int* m, const int* n, const int* k, float* a, const int* lda, const float* tau, float* work,
             const int* lwork, int* info);
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);
void dtrtri_(const char* uplo, const char* diag, const int* n, double* a, const int* lda, int* info);
}
// NOLINTEND(readability-identifier-naming)

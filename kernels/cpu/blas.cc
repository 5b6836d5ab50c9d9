#include "kernels/cpu/blas.h"

#include <omp.h>

#include "kernels/cpu/loops/loops.h"

namespace galleon::cpu {
namespace {

std::mutex& shared_threads() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

}  // namespace

void use_openmp_threads(int threads) {
  if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
}

// OpenBLAS takes its number of threads from OpenMP's setting of the calling thread, and one needs nothing else.
BlasThreads::BlasThreads(int threads) {
  if (threads > 1) {
    lock_ = std::unique_lock<std::mutex>(shared_threads());
    if (openblas_get_num_threads() != threads) openblas_set_num_threads(threads);
  }
  use_openmp_threads(threads);
}

}  // namespace galleon::cpu

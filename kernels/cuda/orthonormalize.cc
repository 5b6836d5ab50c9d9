// Orthonormal bases on the GPU: Cholesky-QR twice (Yamamoto et al. 2015), which is all products, with the Gram matrix
// and the triangular solve in double: products of floats are exact there, so that what a column adds to the span of
// others shows down to 1e-7 of its length. Columns that add less than 1e-5 are what the host's code is for: it replaces
// them by seeded numbers, and gives the same columns wherever it runs.
#include <algorithm>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "common/base/check.h"
#include "kernels/cpu/cpu_operations.h"
#include "kernels/cuda/context_state.h"
#include "kernels/cuda/library_operations.h"
#include "kernels/cuda/solver_space.h"
#include "kernels/cuda/status.h"
#include "kernels/cuda/steps.h"
#include "kernels/cuda/workspaces.h"

namespace galleon::cuda {

namespace {

constexpr double kDependent = 1e-5;  // of the largest column norm, as kernels/ops/linalg.h says

// Calls body(first row, rows) for each panel of y's rows.
template <typename Body>
void by_panels(int64_t rows, Body body) {
  for (int64_t first = 0; first < rows; first += kPanel) body(first, std::min(kPanel, rows - first));
}

// The Gram matrix's factor, upper to cuBLAS, in its place. `info`, on the device: above 0 it is not positive definite
// in double.
void factor(Context& context, int64_t rank, double* gram, void* reserved, int64_t reserved_bytes, int* info) {
  size_t device_bytes = 0;
  size_t host_bytes = 0;
  require(cusolverDnXpotrf_bufferSize(context.solver.get(), context.solver_parameters.get(), CUBLAS_FILL_MODE_UPPER,
                                      rank, CUDA_R_64F, gram, rank, CUDA_R_64F, &device_bytes, &host_bytes),
          "cusolverDnXpotrf_bufferSize");
  SolverSpace space(context, "cusolverDnXpotrf", rank, reserved, reserved_bytes, device_bytes, host_bytes);
  require(cusolverDnXpotrf(context.solver.get(), context.solver_parameters.get(), CUBLAS_FILL_MODE_UPPER, rank,
                           CUDA_R_64F, gram, rank, CUDA_R_64F, space.device(), space.device_bytes(), space.host(),
                           space.host_bytes(), info),
          "cusolverDnXpotrf");
  context.settle([] { return std::string("cusolverDnXpotrf, or the cuBLAS call before it"); });
}

// False where columns are too nearly dependent: y is then as it was, or has another basis of the same flag of spaces. A
// panel is rank×rows to cuBLAS, which is column-major.
bool orthonormalize_by_cholesky(const Execution& on, int64_t rows, int64_t rank, Matrix<float> y, void* scratch) {
  Context& context = *on.cuda;
  const OrthonormalizeSpace space(rows, rank);
  char* at = static_cast<char*>(aligned_scratch(scratch));
  auto* panel = reinterpret_cast<double*>(at);
  auto* gram = reinterpret_cast<double*>(at += space.panel);
  void* reserved = at += space.gram;
  const auto n = static_cast<int>(rank);
  const double one = 1.0;
  for (const bool second : {false, true}) {
    by_panels(rows, [&](int64_t first, int64_t count) {
      widen(on, count, rank, {y.row(first), y.stride}, panel);
      const double before = first == 0 ? 0.0 : 1.0;
      require(cublasDsyrk(context.blas.get(), CUBLAS_FILL_MODE_UPPER, CUBLAS_OP_N, n, static_cast<int>(count), &one,
                          panel, n, &before, gram, n),
              "cublasDsyrk");
    });
    FactorVerdict* noted = verdict_slot(on);
    note_diagonal(on, rank, gram, &noted->gram);
    note_distance_from_identity(on, rank, gram, &noted->distance);
    factor(context, rank, gram, reserved, space.solver, &noted->info);
    note_diagonal(on, rank, gram, &noted->factor);
    const FactorVerdict verdict = read_verdict(on, noted);
    GALLEON_CHECK(verdict.info >= 0) << "cusolverDnXpotrf: argument " << -verdict.info << " is wrong";
    // Where the first round left more than this, its columns were too nearly dependent for a second.
    if (verdict.info != 0 || (second && verdict.distance > 0.1F)) return false;
    const double largest = std::sqrt(std::max(0.0, verdict.gram.largest));
    if (!(verdict.factor.smallest > kDependent * largest)) return false;
    // Yᵀ = Rᵀ·Qᵀ.
    by_panels(rows, [&](int64_t first, int64_t count) {
      widen(on, count, rank, {y.row(first), y.stride}, panel);
      require(cublasDtrsm(context.blas.get(), CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_UPPER, CUBLAS_OP_T,
                          CUBLAS_DIAG_NON_UNIT, n, static_cast<int>(count), &one, gram, n, panel, n),
              "cublasDtrsm");
      narrow(on, count, rank, panel, {y.row(first), y.stride});
    });
  }
  return true;
}

// Through the host's memory, with its code and its seeds.
bool orthonormalize_on_host(const Execution& on, int64_t rows, int64_t rank, Matrix<float> y, uint64_t seed) {
  const OperationTable& cpu = cpu_operations();
  const Execution host{on.threads};
  std::vector<float> held(static_cast<size_t>(rows * rank));
  std::vector<std::max_align_t> scratch(
      static_cast<size_t>(cpu.orthonormalize_workspace(rows, rank)) / sizeof(std::max_align_t) + 1);
  const auto width = static_cast<size_t>(rank) * sizeof(float);
  const auto stride = static_cast<size_t>(y.stride) * sizeof(float);
  cudaStream_t stream = on.cuda->stream.get();
  require(cudaMemcpy2DAsync(held.data(), width, y.data, stride, width, static_cast<size_t>(rows),
                            cudaMemcpyDeviceToHost, stream),
          "cudaMemcpy2DAsync from the GPU");
  require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  const bool good = cpu.orthonormalize(host, rows, rank, {held.data(), rank}, seed, scratch.data());
  require(cudaMemcpy2DAsync(y.data, stride, held.data(), width, width, static_cast<size_t>(rows),
                            cudaMemcpyHostToDevice, stream),
          "cudaMemcpy2DAsync to the GPU");
  require(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  return good;
}

}  // namespace

bool orthonormalize(const Execution& on, int64_t rows, int64_t rank, Matrix<float> y, uint64_t seed, void* scratch) {
  return orthonormalize_by_cholesky(on, rows, rank, y, scratch) || orthonormalize_on_host(on, rows, rank, y, seed);
}

void fill_orthonormalize(OperationTable& table) {
  table.orthonormalize = orthonormalize;
}

}  // namespace galleon::cuda

// Singular vectors on the GPU, from the eigenvectors of a Gram matrix in double precision. Products of floats are exact
// in double, and an eigenvalue σ² is found to 1e-16·σ₁², so that vectors are good down to σ = 1e-7·σ₁ or so: what a
// singular value decomposition in fp32 reaches, at a third of its work, and with one solver that always applies. The
// polar (gesvdp) and randomised (gesvdr) ones of cuSOLVER were left aside: the first perturbs ill-conditioned matrices
// and says so only afterwards, the second misses vectors where the spectrum is flat.
#include <algorithm>
#include <string>

#include "common/base/check.h"
#include "kernels/cuda/context_state.h"
#include "kernels/cuda/library_operations.h"
#include "kernels/cuda/solver_space.h"
#include "kernels/cuda/status.h"
#include "kernels/cuda/steps.h"
#include "kernels/cuda/workspaces.h"

namespace galleon::cuda {

namespace {

// Eigenvalues below this part of the largest are rounding: their vectors are taken from orthonormalize instead.
constexpr double kNothing = 1e-13;

// Vectors into the columns of the (column-major) square, values in ascending order. False: info says that it did not
// converge.
bool eigenvectors(Context& context, int64_t n, double* square, double* values, void* reserved, int64_t reserved_bytes) {
  size_t device_bytes = 0;
  size_t host_bytes = 0;
  require(cusolverDnXsyevd_bufferSize(context.solver.get(), context.solver_parameters.get(), CUSOLVER_EIG_MODE_VECTOR,
                                      CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, square, n, CUDA_R_64F, values, CUDA_R_64F,
                                      &device_bytes, &host_bytes),
          "cusolverDnXsyevd_bufferSize");
  SolverSpace space(context, "cusolverDnXsyevd", n, reserved, reserved_bytes, device_bytes, host_bytes);
  auto* info = static_cast<int*>(context.result.get());
  require(cusolverDnXsyevd(context.solver.get(), context.solver_parameters.get(), CUSOLVER_EIG_MODE_VECTOR,
                           CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, square, n, CUDA_R_64F, values, CUDA_R_64F,
                           space.device(), space.device_bytes(), space.host(), space.host_bytes(), info),
          "cusolverDnXsyevd");
  context.settle([] { return std::string("cusolverDnXsyevd, or the cuBLAS call before it"); });
  int answer = 0;
  download_now(context, &answer, info, sizeof(answer));
  GALLEON_CHECK(answer >= 0) << "cusolverDnXsyevd: argument " << -answer << " is wrong";
  return answer == 0;
}

// To cuBLAS, which is column-major, a panel of g's rows is columns×count, and one of its columns count×rows.
bool right_singular_vectors(const Execution& on, int64_t rows, int64_t columns, int64_t rank, Matrix<float> g,
                            Matrix<float> basis, void* scratch) {
  Context& context = *on.cuda;
  const SingularVectorsSpace space(rows, columns, rank);
  const bool wide = columns > rows;
  const int64_t length = wide ? columns : rows;
  const int64_t order = space.order;
  const auto n = static_cast<int>(order);
  char* at = static_cast<char*>(aligned_scratch(scratch));
  auto* panel = reinterpret_cast<double*>(at);
  auto* gram = reinterpret_cast<double*>(at += space.panel);
  auto* values = reinterpret_cast<double*>(at += space.gram);
  void* reserved = at += space.values;
  auto* vectors = reinterpret_cast<double*>(at += space.solver);
  const double one = 1.0;
  const double zero = 0.0;

  const auto read_panel = [&](int64_t first, int64_t count) {
    if (wide) {
      widen(on, rows, count, {g.data + first, g.stride}, panel);
    } else {
      widen(on, count, columns, {g.row(first), g.stride}, panel);
    }
  };
  for (int64_t first = 0; first < length; first += kPanel) {
    const int64_t count = std::min(kPanel, length - first);
    read_panel(first, count);
    const auto depth = static_cast<int>(count);
    require(cublasDsyrk(context.blas.get(), CUBLAS_FILL_MODE_UPPER, wide ? CUBLAS_OP_T : CUBLAS_OP_N, n, depth, &one,
                        panel, wide ? depth : n, first == 0 ? &zero : &one, gram, n),
            "cublasDsyrk");
  }
  if (!eigenvectors(context, order, gram, values, reserved, space.solver)) return false;
  if (!wide) {
    take_last_vectors(on, order, rank, gram, basis);
    return true;
  }
  // v = gᵀ·u / σ.
  double largest = 0;
  download_now(context, &largest, values + order - 1, sizeof(largest));
  const double* last = gram + (order - rank) * order;
  for (int64_t first = 0; first < length; first += kPanel) {
    const int64_t count = std::min(kPanel, length - first);
    read_panel(first, count);
    require(cublasDgemm(context.blas.get(), CUBLAS_OP_T, CUBLAS_OP_T, static_cast<int>(rank), static_cast<int>(count),
                        n, &one, last, n, panel, static_cast<int>(count), &zero, vectors, static_cast<int>(rank)),
            "cublasDgemm");
    take_scaled_vectors(on, count, rank, vectors, values + order - rank, std::max(kNothing * largest, 1e-300),
                        {basis.row(first), basis.stride});
  }
  constexpr uint64_t kSeed = 1;  // of directions in which g has nothing
  return orthonormalize(on, columns, rank, basis, kSeed, scratch);
}

}  // namespace

void fill_singular_vectors(OperationTable& table) {
  table.right_singular_vectors = right_singular_vectors;
}

}  // namespace galleon::cuda

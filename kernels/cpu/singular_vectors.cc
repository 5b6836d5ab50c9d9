// Singular vectors on LAPACK.
#include <algorithm>

#include "kernels/cpu/blas.h"
#include "kernels/cpu/lapack.h"

namespace galleon::cpu {
namespace {

// Sizes of the singular value problem of A = gᵀ (to LAPACK, which is column-major): columns×rows.
struct SvdSizes {
  SvdSizes(int64_t rows, int64_t columns, int64_t rank)
      : m(static_cast<int>(columns)), n(static_cast<int>(rows)), k(std::min(m, n)), r(static_cast<int>(rank)) {
    const int order = k;
    work = std::max<int64_t>(3LL * k * k + 4LL * k, 1);  // sbdsdc with vectors
    work = std::max(work, asked("sgebrd", [&](float* w, const int* l, int* info) {
                      sgebrd_(&order, &order, nullptr, &order, nullptr, nullptr, nullptr, nullptr, w, l, info);
                    }));
    work = std::max(work, asked("sormbr", [&](float* w, const int* l, int* info) {
                      sormbr_("Q", "L", "N", &order, &r, &order, nullptr, &order, nullptr, nullptr, &order, w, l, info);
                    }));
    if (m > n) {
      work = std::max(work, asked("sgeqrf", [&](float* w, const int* l, int* info) {
                        sgeqrf_(&m, &n, nullptr, &m, nullptr, w, l, info);
                      }));
      work = std::max(work, asked("sormqr", [&](float* w, const int* l, int* info) {
                        sormqr_("L", "N", &m, &r, &order, nullptr, &m, nullptr, nullptr, &m, w, l, info);
                      }));
    } else if (m < n) {
      work = std::max(work, asked("sgeqrf", [&](float* w, const int* l, int* info) {
                        sgeqrf_(&n, &m, nullptr, &n, nullptr, w, l, info);
                      }));
    }
  }
  int m;
  int n;
  int k;
  int r;
  int64_t work;
};

int64_t right_singular_vectors_workspace(int64_t rows, int64_t columns, int64_t rank) {
  const SvdSizes s(rows, columns, rank);
  const int64_t k = s.k;
  return piece_bytes(rows * columns * kFloat) + 3 * piece_bytes(k * k * kFloat) + piece_bytes(columns * rank * kFloat) +
         5 * piece_bytes(k * kFloat) + piece_bytes(s.work * kFloat) +
         piece_bytes(8 * k * static_cast<int64_t>(sizeof(int)));
}

// Row-major g is A = gᵀ to LAPACK, whose left singular vectors are the right ones of g. Only they are wanted, and only
// the first r: A is reduced to a square (a tall A = Q·R needs Q on r vectors at the end; a wide A has Aᵀ = Q·R, A =
// Rᵀ·Qᵀ, and needs no Q at all, where an LQ would be slower), that to a bidiagonal, whose vectors come from divide and
// conquer, and r of them are brought back.
bool right_singular_vectors(const Execution& on, int64_t rows, int64_t columns, int64_t rank, Matrix<float> g,
                            Matrix<float> basis, void* scratch) {
  const SvdSizes s(rows, columns, rank);
  // LAPACK starts threads for steps of microseconds: below this size one thread is two to three times faster than two.
  const BlasThreads threads(s.k <= 1024 ? 1 : on.threads);
  const int64_t k = s.k;
  Pieces pieces(scratch);
  float* a = pieces.floats(rows * columns);
  float* square = pieces.floats(k * k);
  float* u = pieces.floats(k * k);
  float* vt = pieces.floats(k * k);
  float* vectors = pieces.floats(columns * rank);
  float* diagonal = pieces.floats(k);
  float* off_diagonal = pieces.floats(k);
  float* tau = pieces.floats(k);
  float* tau_q = pieces.floats(k);
  float* tau_p = pieces.floats(k);
  float* work = pieces.floats(s.work);
  int* iwork = pieces.ints(8 * k);
  const int work_length = static_cast<int>(s.work);
  int info = 0;

  // A power of two brings the largest number near 1, so that no square over- or underflows.
  const float scale = power_of_two_scale(rows, columns, g);
  if (s.m < s.n) {
    gather(on, rows, columns, g, scale, a);
    sgeqrf_(&s.n, &s.m, a, &s.n, tau, work, &work_length, &info);
  } else {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * columns, 100))
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) a[r * columns + c] = g.row(r)[c] * scale;
    }
    if (s.m > s.n) sgeqrf_(&s.m, &s.n, a, &s.m, tau, work, &work_length, &info);
  }
  if (info != 0) return false;
  // The square, column by column: R, Rᵀ, or A itself.
  for (int64_t j = 0; j < k; ++j) {
    for (int64_t i = 0; i < k; ++i) {
      if (s.m < s.n) {
        square[j * k + i] = i >= j ? a[i * rows + j] : 0.0F;
      } else {
        square[j * k + i] = s.m == s.n || i <= j ? a[j * columns + i] : 0.0F;
      }
    }
  }
  sgebrd_(&s.k, &s.k, square, &s.k, diagonal, off_diagonal, tau_q, tau_p, work, &work_length, &info);
  if (info != 0) return false;
  sbdsdc_("U", "I", &s.k, diagonal, off_diagonal, u, &s.k, vt, &s.k, nullptr, nullptr, work, iwork, &info);
  if (info != 0) return false;
  sormbr_("Q", "L", "N", &s.k, &s.r, &s.k, square, &s.k, tau_q, u, &s.k, work, &work_length, &info);
  if (info != 0) return false;
  for (int64_t j = 0; j < rank; ++j) {
    float* vector = vectors + j * columns;
    std::copy_n(u + j * k, k, vector);
    std::fill_n(vector + k, columns - k, 0.0F);
  }
  if (s.m > s.n) sormqr_("L", "N", &s.m, &s.r, &s.k, a, &s.m, tau, vectors, &s.m, work, &work_length, &info);
  if (info != 0) return false;
  scatter(on, columns, rank, vectors, basis);
  return true;
}

}  // namespace

void fill_singular_vector_operations(OperationTable& table) {
  table.right_singular_vectors = right_singular_vectors;
  table.right_singular_vectors_workspace = right_singular_vectors_workspace;
}

}  // namespace galleon::cpu

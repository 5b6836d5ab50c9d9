// Singular vectors and orthonormal bases on LAPACK.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "common/base/check.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/loops/loops.h"

namespace galleon::cpu {
namespace {

int64_t round_up(int64_t bytes) {
  return (bytes + 63) / 64 * 64;
}
constexpr int64_t kFloat = sizeof(float);

// Hands out pieces of the scratch memory that a workspace function has counted in the same order.
class Pieces {
 public:
  explicit Pieces(void* scratch) : at_(static_cast<char*>(scratch)) {}
  float* floats(int64_t count) { return reinterpret_cast<float*>(take(count * kFloat)); }
  int* ints(int64_t count) { return reinterpret_cast<int*>(take(count * static_cast<int64_t>(sizeof(int)))); }

 private:
  char* take(int64_t bytes) {
    char* piece = at_;
    at_ += round_up(bytes);
    return piece;
  }
  char* at_;
};

// LAPACK reports the size of its work array as a float, which rounds above 2^24.
int64_t work_size(float reported) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(reported) * 1.000001)) + 64;
}

// A power of two that brings the largest number of a matrix to [1, 2).
float power_of_two_scale(int64_t rows, int64_t columns, const float* x, int64_t ldx) {
  float highest = 0.0F;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) highest = std::max(highest, std::fabs(x[r * ldx + c]));
  }
  return highest > 0.0F ? std::ldexp(1.0F, std::clamp(-std::ilogb(highest), -126, 126)) : 1.0F;
}

// q ← the columns of y, each contiguous, times `scale`.
void gather(const Execution& on, int64_t rows, int64_t rank, const float* y, int64_t ldy, float scale, float* q) {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * rank, 500))
  for (int64_t r0 = 0; r0 < rows; r0 += 32) {
    for (int64_t j = 0; j < rank; ++j) {
      for (int64_t r = r0; r < std::min(r0 + 32, rows); ++r) q[j * rows + r] = y[r * ldy + j] * scale;
    }
  }
}

// y ← q, whose columns are contiguous.
void scatter(const Execution& on, int64_t rows, int64_t rank, const float* q, float* y, int64_t ldy) {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * rank, 500))
  for (int64_t r0 = 0; r0 < rows; r0 += 32) {
    for (int64_t r = r0; r < std::min(r0 + 32, rows); ++r) {
      for (int64_t j = 0; j < rank; ++j) y[r * ldy + j] = q[j * rows + r];
    }
  }
}

// Asks a LAPACK routine for the size of its work array.
template <typename Query>
int64_t asked(const char* routine, Query query) {
  const int ask = -1;
  float size = 0;
  int info = 0;
  query(&size, &ask, &info);
  GALLEON_CHECK(info == 0) << routine << "'s size query gave " << info;
  return work_size(size);
}

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
  return round_up(rows * columns * kFloat) + 3 * round_up(k * k * kFloat) + round_up(columns * rank * kFloat) +
         5 * round_up(k * kFloat) + round_up(s.work * kFloat) + round_up(8 * k * static_cast<int64_t>(sizeof(int)));
}

// Row-major g is A = gᵀ to LAPACK, whose left singular vectors are the right ones of g. Only they are wanted, and only
// the first r: A is reduced to a square (a tall A = Q·R needs Q on r vectors at the end; a wide A has Aᵀ = Q·R, A =
// Rᵀ·Qᵀ, and needs no Q at all, where an LQ would be slower), that to a bidiagonal, whose vectors come from divide and
// conquer, and r of them are brought back.
bool right_singular_vectors(const Execution& on, int64_t rows, int64_t columns, int64_t rank, float* g, int64_t ldg,
                            float* basis, int64_t ldb, void* scratch) {
  const SvdSizes s(rows, columns, rank);
  // LAPACK starts threads for steps of microseconds: below this size one thread is two to three times faster than two.
  use_blas_threads(s.k <= 1024 ? 1 : on.threads);
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
  const float scale = power_of_two_scale(rows, columns, g, ldg);
  if (s.m < s.n) {
    gather(on, rows, columns, g, ldg, scale, a);
    sgeqrf_(&s.n, &s.m, a, &s.n, tau, work, &work_length, &info);
  } else {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * columns, 100))
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) a[r * columns + c] = g[r * ldg + c] * scale;
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
  scatter(on, columns, rank, vectors, basis, ldb);
  return true;
}

int64_t qr_work(int64_t rows, int64_t rank) {
  const int m = static_cast<int>(rows);
  const int n = static_cast<int>(rank);
  return std::max(
      asked("sgeqrf", [&](float* w, const int* l, int* info) { sgeqrf_(&m, &n, nullptr, &m, nullptr, w, l, info); }),
      asked("sorgqr",
            [&](float* w, const int* l, int* info) { sorgqr_(&m, &n, &n, nullptr, &m, nullptr, w, l, info); }));
}

int64_t orthonormalize_workspace(int64_t rows, int64_t rank) {
  return round_up(rows * rank * kFloat) + round_up(rank * kFloat) + round_up(qr_work(rows, rank) * kFloat) +
         round_up(rank * static_cast<int64_t>(sizeof(int)));
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
      table.fill_normal(on, rows, v, seed, static_cast<uint64_t>(j), first, 0.0F, 1.0F);
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

bool orthonormalize(const Execution& on, int64_t rows, int64_t rank, float* y, int64_t ldy, uint64_t seed,
                    void* scratch) {
  use_blas_threads(rows * rank <= int64_t{1} << 19 ? 1 : on.threads);
  Pieces pieces(scratch);
  float* q = pieces.floats(rows * rank);
  float* tau = pieces.floats(rank);
  const int64_t lwork = qr_work(rows, rank);
  float* work = pieces.floats(lwork);
  int* use = pieces.ints(rank);

  // A power of two brings the largest number near 1, so that no square over- or underflows.
  const float scale = power_of_two_scale(rows, rank, y, ldy);
  gather(on, rows, rank, y, ldy, scale, q);
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
    gather(on, rows, rank, y, ldy, scale, q);
    orthonormalize_columns(on, rows, rank, seed, largest, q, use);
  }
  scatter(on, rows, rank, q, y, ldy);
  return true;
}

}  // namespace

void fill_linalg_operations(OperationTable& table) {
  table.right_singular_vectors = right_singular_vectors;
  table.right_singular_vectors_workspace = right_singular_vectors_workspace;
  table.orthonormalize = orthonormalize;
  table.orthonormalize_workspace = orthonormalize_workspace;
}

}  // namespace galleon::cpu

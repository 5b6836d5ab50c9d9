// Scratch memory and copies that the LAPACK callers share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "common/base/check.h"
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu {

// What a piece of scratch memory takes.
inline int64_t piece_bytes(int64_t bytes) {
  return round_up(bytes, 64);
}
inline constexpr int64_t kFloat = sizeof(float);
inline constexpr int64_t kDouble = sizeof(double);

// Hands out pieces of the scratch memory that a workspace function has counted in the same order.
class Pieces {
 public:
  explicit Pieces(void* scratch) : at_(static_cast<char*>(scratch)) {}
  double* doubles(int64_t count) { return reinterpret_cast<double*>(take(count * kDouble)); }
  float* floats(int64_t count) { return reinterpret_cast<float*>(take(count * kFloat)); }
  int* ints(int64_t count) { return reinterpret_cast<int*>(take(count * static_cast<int64_t>(sizeof(int)))); }

 private:
  char* take(int64_t bytes) {
    char* piece = at_;
    at_ += piece_bytes(bytes);
    return piece;
  }
  char* at_;
};

// LAPACK reports the size of its work array as a float, which rounds above 2^24.
inline int64_t work_size(float reported) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(reported) * 1.000001)) + 64;
}

// A power of two that brings the largest number of a matrix to [1, 2).
inline float power_of_two_scale(int64_t rows, int64_t columns, Matrix<const float> x) {
  float highest = 0.0F;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) highest = std::max(highest, std::fabs(x.row(r)[c]));
  }
  return highest > 0.0F ? std::ldexp(1.0F, std::clamp(-std::ilogb(highest), -126, 126)) : 1.0F;
}

// q ← the columns of y, each contiguous, times `scale`.
inline void gather(const Execution& on, int64_t rows, int64_t rank, Matrix<const float> y, float scale, float* q) {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * rank, 500))
  for (int64_t r0 = 0; r0 < rows; r0 += 32) {
    for (int64_t j = 0; j < rank; ++j) {
      for (int64_t r = r0; r < std::min(r0 + 32, rows); ++r) q[j * rows + r] = y.row(r)[j] * scale;
    }
  }
}

// y ← q, whose columns are contiguous.
inline void scatter(const Execution& on, int64_t rows, int64_t rank, const float* q, Matrix<float> y) {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * rank, 500))
  for (int64_t r0 = 0; r0 < rows; r0 += 32) {
    for (int64_t r = r0; r < std::min(r0 + 32, rows); ++r) {
      for (int64_t j = 0; j < rank; ++j) y.row(r)[j] = q[j * rows + r];
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

}  // namespace galleon::cpu

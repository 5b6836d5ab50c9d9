// Small kernels between the library calls of products and decompositions. Matrices are row-major unless said otherwise;
// doubles lie without gaps.
#pragma once

#include <cstdint>

#include "kernels/operation_table.h"

namespace galleon::cuda {

// x ← factor·x; with 0 whatever x holds becomes 0.
void scale_matrix(const Execution& on, int64_t rows, int64_t n, float factor, Matrix<float> x);
void scale_matrix(const Execution& on, int64_t rows, int64_t n, float factor, Matrix<BFloat16> x);

void widen(const Execution& on, int64_t rows, int64_t n, Matrix<const float> x, double* y);
void narrow(const Execution& on, int64_t rows, int64_t n, const double* x, Matrix<float> y);

struct DiagonalRange {
  double smallest;
  double largest;
};

// What Cholesky's factor of a Gram matrix is judged by. It lies on the device until all of it is there, so that the
// host waits once.
struct FactorVerdict {
  DiagonalRange gram;
  DiagonalRange factor;
  float distance;  // of the Gram matrix from the identity
  int info;        // cuSOLVER's
};
// Device memory for one; undefined at first.
FactorVerdict* verdict_slot(const Execution& on);
FactorVerdict read_verdict(const Execution& on, const FactorVerdict* verdict);

// Of an n×n matrix, into device memory.
void note_diagonal(const Execution& on, int64_t n, const double* square, DiagonalRange* range);
// The largest |x − I| over the diagonal and one triangle (column-major: the upper one).
void note_distance_from_identity(const Execution& on, int64_t n, const double* square, float* distance);

// basis[i, j] ← element i of eigenvector n−1−j: the columns of `vectors` (column-major n×n) belong to eigenvalues in
// ascending order.
void take_last_vectors(const Execution& on, int64_t n, int64_t rank, const double* vectors, Matrix<float> basis);

// basis[i, j] ← products[i, rank−1−j] / √values[rank−1−j]; 0 where the value is below `least`.
void take_scaled_vectors(const Execution& on, int64_t rows, int64_t rank, const double* products, const double* values,
                         double least, Matrix<float> basis);

}  // namespace galleon::cuda

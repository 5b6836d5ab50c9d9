#include "kernels/ops/linalg.h"

#include <algorithm>

#include "kernels/ops/linear.h"
#include "kernels/ops/operands.h"
#include "kernels/ops/reduction.h"

namespace galleon {

bool right_singular_vectors(Device& device, const Tensor& g, const Tensor& basis) {
  const int64_t rank = basis.columns;
  check_shape("right_singular_vectors: g", g, g.rows, g.columns);
  check_shape("right_singular_vectors: basis", basis, g.columns, rank);
  GALLEON_CHECK(rank >= 1 && rank <= std::min(g.rows, g.columns))
      << "right_singular_vectors: rank " << rank << " of " << shape_string(g);
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.right_singular_vectors_workspace(g.rows, g.columns, rank));
  const auto longer = static_cast<double>(std::max(g.rows, g.columns));
  const auto shorter = static_cast<double>(std::min(g.rows, g.columns));
  // Bidiagonalisation through QR, then the vectors of one side (Golub & Van Loan, 5.4.5).
  count_work(device, 2.0 * longer * shorter * shorter + 11.0 * shorter * shorter * shorter,
             static_cast<double>(2 * g.bytes() + basis.bytes()), WorkKind::kBasis);
  if (!all_finite(device, g)) return false;
  if (!device.executes()) return true;
  return table.right_singular_vectors(device.execution(), g.rows, g.columns, rank, matrix<float>(g),
                                      matrix<float>(basis), scratch.data());
}

bool orthonormalize(Device& device, const Tensor& y, uint64_t seed) {
  check_shape("orthonormalize: y", y, y.rows, y.columns);
  GALLEON_CHECK(y.columns >= 1 && y.columns <= y.rows) << "orthonormalize: y is " << shape_string(y);
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.orthonormalize_workspace(y.rows, y.columns));
  const auto rank = static_cast<double>(y.columns);
  count_work(device, 4.0 * static_cast<double>(y.rows) * rank * rank, 2.0 * static_cast<double>(y.bytes()),
             WorkKind::kBasis);
  if (!all_finite(device, y)) return false;
  if (!device.executes()) return true;
  return table.orthonormalize(device.execution(), y.rows, y.columns, matrix<float>(y), seed, scratch.data());
}

double overlap(Device& device, const Tensor& a, const Tensor& b) {
  check_shape("overlap: b", b, a.rows, a.columns);
  GALLEON_CHECK(a.columns >= 1) << "overlap: a is " << shape_string(a);
  const Workspace scratch(device, a.columns * a.columns * bytes_of(DataType::kFloat32));
  const Tensor cosines = scratch.tensor(a.columns, a.columns);
  matmul(device, a, Transpose::kYes, b, Transpose::kNo, cosines);
  return sum_of_squares(device, cosines) / static_cast<double>(a.columns);
}

}  // namespace galleon

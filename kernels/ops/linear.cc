#include "kernels/ops/linear.h"

#include <algorithm>

#include "kernels/ops/operands.h"

namespace galleon {

void matmul(Device& device, const Tensor& a, Transpose transpose_a, const Tensor& b, Transpose transpose_b,
            const Tensor& c, float alpha, float beta) {
  const bool flip_a = transpose_a == Transpose::kYes;
  const bool flip_b = transpose_b == Transpose::kYes;
  const int64_t m = flip_a ? a.columns : a.rows;
  const int64_t k = flip_a ? a.rows : a.columns;
  const int64_t n = flip_b ? b.rows : b.columns;
  const int64_t k_b = flip_b ? b.columns : b.rows;
  GALLEON_CHECK(k == k_b && c.rows == m && c.columns == n)
      << "matmul: " << shape_string(a) << (flip_a ? " transposed" : "") << " times " << shape_string(b)
      << (flip_b ? " transposed" : "") << " into " << shape_string(c);
  check_shape("matmul: a", a, a.rows, a.columns, a.type);
  check_shape("matmul: b", b, b.rows, b.columns, a.type);
  check_shape("matmul: c", c, m, n, c.type == a.type ? a.type : DataType::kFloat32);
  by_float_type("matmul: a", device, a.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    const Workspace scratch(device, functions.matmul_workspace(flip_a, flip_b, m, n, k));
    count_work(device, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
               static_cast<double>(a.bytes() + b.bytes() + c.bytes() * (beta == 0.0F ? 1 : 2)));
    if (!device.executes() || m == 0 || n == 0) return;
    const int64_t lda = std::max(a.stride, a.columns);
    const int64_t ldb = std::max(b.stride, b.columns);
    const int64_t ldc = std::max(c.stride, c.columns);
    if (c.type == a.type) {
      functions.matmul(device.execution(), flip_a, flip_b, m, n, k, alpha, a.as<T>(), lda, b.as<T>(), ldb, beta,
                       c.as<T>(), ldc, scratch.data());
    } else {
      functions.matmul_to_fp32(device.execution(), flip_a, flip_b, m, n, k, alpha, a.as<T>(), lda, b.as<T>(), ldb, beta,
                               c.f32(), ldc, scratch.data());
    }
  });
}

}  // namespace galleon

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
  const auto product = [&]<typename T, typename C>() -> Product<T, C> {
    return {.transpose_a = flip_a,
            .transpose_b = flip_b,
            .m = m,
            .n = n,
            .k = k,
            .alpha = alpha,
            .a = {a.as<T>(), std::max(a.stride, a.columns)},
            .b = {b.as<T>(), std::max(b.stride, b.columns)},
            .beta = beta,
            .c = {c.as<C>(), std::max(c.stride, c.columns)}};
  };
  by_float_type("matmul: a", device, a.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    const Workspace scratch(device, functions.matmul_workspace(flip_a, flip_b, m, n, k));
    count_work(device, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
               static_cast<double>(a.bytes() + b.bytes() + c.bytes() * (beta == 0.0F ? 1 : 2)), WorkKind::kProduct,
               a.type);
    if (!device.executes() || m == 0 || n == 0) return;
    if (c.type == a.type) {
      functions.matmul(device.execution(), product.template operator()<T, T>(), scratch.data());
    } else {
      functions.matmul_to_fp32(device.execution(), product.template operator()<T, float>(), scratch.data());
    }
  });
}

}  // namespace galleon

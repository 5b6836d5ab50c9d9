#include "kernels/ops/orthogonal.h"

#include <utility>

#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/operands.h"

namespace galleon {

namespace {

void check_square(const char* what, const Tensor& t, int64_t n) {
  check_shape(what, t, n, n);
  check_contiguous(what, t);
}

}  // namespace

void normalize_gram(Device& device, float safety, const Tensor& gram, const Tensor& factor) {
  check_square("normalize_gram: gram", gram, gram.rows);
  check_vector("normalize_gram: factor", factor, 1);
  count_work(device, static_cast<double>(gram.size()), 2.0 * static_cast<double>(gram.bytes()), WorkKind::kOptimizer);
  if (!device.executes()) return;
  device.operations().normalize_gram(device.execution(), gram.rows, safety, gram.f32(), factor.f32());
}

void gram_polynomial(Device& device, const OddPolynomial& polynomial, const Tensor& x, const Tensor& y,
                     const Tensor& factor, const Tensor& to) {
  check_square("gram_polynomial: x", x, x.rows);
  check_square("gram_polynomial: y", y, x.rows);
  check_square("gram_polynomial: to", to, x.rows);
  if (factor.rows > 0) check_vector("gram_polynomial: factor", factor, 1);
  count_work(device, 4.0 * static_cast<double>(x.size()), 3.0 * static_cast<double>(x.bytes()), WorkKind::kOptimizer);
  if (!device.executes()) return;
  device.operations().gram_polynomial(device.execution(), x.rows, polynomial, x.f32(), y.f32(), vector_or_null(factor),
                                      to.f32());
}

void orthogonal_factor(Device& device, absl::Span<const OddPolynomial> polynomials, float safety, const Tensor& gram,
                       const Tensor& q) {
  const int64_t n = gram.rows;
  check_square("orthogonal_factor: gram", gram, n);
  check_square("orthogonal_factor: q", q, n);
  GALLEON_CHECK(!polynomials.empty()) << "orthogonal_factor: no polynomials";
  const Workspace memory(device, 3 * n * n * bytes_of(DataType::kFloat32));
  const Workspace factor_memory(device, bytes_of(DataType::kFloat32));
  const Tensor factor = factor_memory.tensor(1, 1);
  const Tensor all = memory.tensor(3 * n, n);
  Tensor x = gram;
  Tensor free = all.row_range(0, n);
  Tensor p = all.row_range(n, n);
  Tensor product = all.row_range(2 * n, n);
  Tensor own = q;  // the product so far; its place and `product` change about
  normalize_gram(device, safety, gram, factor);
  for (size_t k = 0; k < polynomials.size(); ++k) {
    const bool last = k + 1 == polynomials.size();
    matmul(device, x, Transpose::kNo, x, Transpose::kNo, free);
    const Tensor here = k == 0 ? own : p;
    gram_polynomial(device, polynomials[k], x, free, last ? factor : Tensor{}, here);
    if (k > 0) {
      matmul(device, own, Transpose::kNo, p, Transpose::kNo, product);
      std::swap(own, product);
    }
    if (last) break;
    // x ← p·x·p.
    matmul(device, here, Transpose::kNo, x, Transpose::kNo, free);
    matmul(device, free, Transpose::kNo, here, Transpose::kNo, x);
  }
  if (own.data != q.data) copy(device, own, q);
}

}  // namespace galleon

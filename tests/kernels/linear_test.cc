#include "kernels/ops/linear.h"

#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using LinearTest = KernelTest;

double at(const Values& x, bool transposed, int64_t rows, int64_t columns, int64_t r, int64_t c) {
  return transposed ? x[c * rows + r] : x[r * columns + c];
}

TEST_P(LinearTest, ProductsOfAllOrientationsAndShapesMatchDoublePrecision) {
  const int64_t shapes[][3] = {{1, 1, 1},    {1, 7, 3},     {5, 1, 9},     {3, 5, 0},      {17, 33, 65},
                               {64, 64, 64}, {130, 20, 77}, {200, 8, 513}, {12, 300, 129}, {344, 32, 600}};
  for (const auto& [m, n, k] : shapes) {
    for (const bool flip_a : {false, true}) {
      for (const bool flip_b : {false, true}) {
        for (const Gaps gaps : kEveryGaps) {
          const Values a = normal_values(m * k, 1);
          const Values b = normal_values(k * n, 2);
          const Values c = normal_values(m * n, 3);
          const Tensor ta = tensor(a, flip_a ? k : m, flip_a ? m : k, gaps);
          const Tensor tb = tensor(b, flip_b ? n : k, flip_b ? k : n, gaps);
          const Tensor fresh = empty(m, n, gaps);  // NaN: with beta 0 it must not be read
          const Tensor added = tensor(c, m, n, gaps);
          matmul(*device_, ta, flip_a ? Transpose::kYes : Transpose::kNo, tb, flip_b ? Transpose::kYes : Transpose::kNo,
                 fresh);
          matmul(*device_, ta, flip_a ? Transpose::kYes : Transpose::kNo, tb, flip_b ? Transpose::kYes : Transpose::kNo,
                 added, -0.5F, 2.0F);
          Values product(static_cast<size_t>(m * n));
          Values sum(static_cast<size_t>(m * n));
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              double value = 0;
              for (int64_t l = 0; l < k; ++l) value += at(a, flip_a, m, k, i, l) * at(b, flip_b, k, n, l, j);
              product[i * n + j] = value;
              sum[i * n + j] = 2 * c[i * n + j] - 0.5 * value;
            }
          }
          EXPECT_LE(relative_error(values_of(fresh), product), sum_bound(k))
              << m << "x" << n << "x" << k << flip_a << flip_b;
          EXPECT_LE(relative_error(values_of(added), sum), sum_bound(k))
              << m << "x" << n << "x" << k << flip_a << flip_b;
        }
      }
    }
  }
}

TEST_P(LinearTest, TheSameProductTwiceHasTheSameBits) {
  const Tensor a = tensor(normal_values(1000 * 300, 1), 1000, 300);
  const Tensor b = tensor(normal_values(1000 * 40, 2), 1000, 40);
  const Tensor first = empty(300, 40);
  const Tensor second = empty(300, 40);
  matmul(*device_, a, Transpose::kYes, b, Transpose::kNo, first);
  matmul(*device_, a, Transpose::kYes, b, Transpose::kNo, second);
  EXPECT_EQ(bytes_of_tensor(first), bytes_of_tensor(second));
}

TEST_P(LinearTest, CountsFlopsAndBytes) {
  const Tensor a = tensor(normal_values(6, 1), 2, 3);
  const Tensor b = tensor(normal_values(12, 2), 3, 4);
  const Tensor c = empty(2, 4);
  device_->work() = {};
  matmul(*device_, a, Transpose::kNo, b, Transpose::kNo, c);
  EXPECT_EQ(device_->work().flops, 2 * 2 * 3 * 4);
  EXPECT_EQ(device_->work().bytes, 4 * (6 + 12 + 8));
}

TEST_P(LinearTest, ShapesThatDoNotFitAbortAndAreNamed) {
  const Tensor a = tensor(normal_values(6, 1), 2, 3);
  const Tensor b = tensor(normal_values(8, 2), 2, 4);
  const Tensor c = empty(2, 4);
  EXPECT_DEATH(matmul(*device_, a, Transpose::kNo, b, Transpose::kNo, c), "2x3 fp32 times 2x4 fp32 into 2x4 fp32");
}

TEST(LinearThreads, DevicesOfDifferentThreadCountsAlternate) {
  const std::unique_ptr<Device> one = make_cpu_device(1);
  const std::unique_ptr<Device> two = make_cpu_device(2);
  std::vector<Values> results;
  for (Device* device : {one.get(), two.get(), one.get(), two.get()}) {
    DeviceOperands operands(*device);
    const Tensor a = operands.tensor(normal_values(400 * 300, 5), 400, 300);
    const Tensor c = operands.empty(400, 400);
    matmul(*device, a, Transpose::kNo, a, Transpose::kYes, c);
    results.push_back(operands.values_of(c));
  }
  EXPECT_EQ(results[0], results[2]);
  EXPECT_EQ(results[1], results[3]);
  EXPECT_LE(relative_error(results[1], results[0]), sum_bound(300));
}

GALLEON_ON_EVERY_BACKEND(LinearTest);

}  // namespace
}  // namespace galleon

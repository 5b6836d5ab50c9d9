#include "kernels/ops/norm.h"

#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using NormTest = KernelTest;
constexpr float kEpsilon = 1e-5F;
constexpr int64_t kShapes[][2] = {{1, 1},     {1, 8},     {3, 5},    {7, 63},  {65, 64},
                                  {200, 129}, {1100, 33}, {6, 1000}, {3, 9001}};

Values reference(const Values& x, const Values& weight, int64_t rows, int64_t n, Values* inverse = nullptr) {
  Values y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += x[r * n + i] * x[r * n + i];
    const double s = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(kEpsilon));
    if (inverse != nullptr) inverse->push_back(s);
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * s * weight[i];
  }
  return y;
}

TEST_P(NormTest, ForwardMatchesDoublePrecisionAndTheRecomputedOutputHasTheSameBits) {
  for (const auto& [rows, n] : kShapes) {
    for (const Gaps gaps : kEveryGaps) {
      const Values x = normal_values(rows * n, 1, 3.0);
      const Values w = normal_values(n, 2);
      const Tensor tx = tensor(x, rows, n, gaps);
      const Tensor tw = tensor(w, n, 1);
      const Tensor y = empty(rows, n, gaps);
      const Tensor again = empty(rows, n, gaps);
      const Tensor inverse = empty(rows, 1);
      rms_norm(*device_, tx, tw, kEpsilon, y, inverse);
      Values s;
      const Values expected = reference(x, w, rows, n, &s);
      EXPECT_LE(relative_error(values_of(y), expected), sum_bound(n)) << rows << "x" << n;
      EXPECT_LE(relative_error(values_of(inverse), s), sum_bound(n)) << rows << "x" << n;
      rms_norm_recompute(*device_, tx, tw, inverse, again);
      EXPECT_EQ(values_of(again), values_of(y));
      rms_norm(*device_, tx, tw, kEpsilon, tx, inverse);
      EXPECT_EQ(values_of(tx), values_of(y)) << "in place";
    }
  }
}

TEST_P(NormTest, AdditionComesBeforeTheNormAndStays) {
  for (const auto& [rows, n] : kShapes) {
    const Values x = normal_values(rows * n, 1);
    const Values delta = normal_values(rows * n, 3);
    const Values w = normal_values(n, 2);
    const Tensor tx = tensor(x, rows, n, true);
    const Tensor y = empty(rows, n);
    const Tensor inverse = empty(rows, 1);
    add_rms_norm(*device_, tx, tensor(delta, rows, n), tensor(w, 1, n), kEpsilon, y, inverse);
    Values sum(x.size());
    for (size_t i = 0; i < x.size(); ++i) sum[i] = x[i] + delta[i];
    EXPECT_LE(relative_error(values_of(tx), sum), 2 * kRounding);
    EXPECT_LE(relative_error(values_of(y), reference(sum, w, rows, n)), sum_bound(n)) << rows << "x" << n;
  }
}

TEST_P(NormTest, BackwardAddsTheGradientsOfDifferences) {
  for (const auto& [rows, n] : kShapes) {
    const Values x = normal_values(rows * n, 1);
    const Values w = normal_values(n, 2);
    const Values dy = normal_values(rows * n, 3);
    const Values before_x = normal_values(rows * n, 4);
    const Values before_w = normal_values(n, 5);
    const Tensor tx = tensor(x, rows, n, true);
    const Tensor tw = tensor(w, n, 1);
    const Tensor y = empty(rows, n);
    const Tensor inverse = empty(rows, 1);
    rms_norm(*device_, tx, tw, kEpsilon, y, inverse);
    const Tensor dx = tensor(before_x, rows, n, true);
    const Tensor dw = tensor(before_w, n, 1);
    rms_norm_backward(*device_, tx, tw, inverse, tensor(dy, rows, n, true), dx, dw);
    const Tensor dx_alone = tensor(before_x, rows, n);
    rms_norm_backward(*device_, tx, tw, inverse, tensor(dy, rows, n, true), dx_alone, Tensor{});
    EXPECT_EQ(values_of(dx_alone), values_of(dx)) << "a weight without gradient";
    Values gradient_x = values_of(dx);
    Values gradient_w = values_of(dw);
    for (size_t i = 0; i < gradient_x.size(); ++i) gradient_x[i] -= before_x[i];
    for (size_t i = 0; i < gradient_w.size(); ++i) gradient_w[i] -= before_w[i];
    // With one column y hardly depends on x, so what is left is the rounding of numbers near 1.
    const double tolerance = n == 1 ? 1e-2 : 4 * sum_bound(n + rows);
    if (n > 1) {
      expect_gradient(
          "dx", x, gradient_x, [&](const Values& p) { return dot(dy, reference(p, w, rows, n)); }, tolerance);
    }
    expect_gradient(
        "dweight", w, gradient_w, [&](const Values& p) { return dot(dy, reference(x, p, rows, n)); }, tolerance);
  }
}

TEST(NormThreads, BackwardHasTheSameBitsOnOneThreadAndOnTwo) {
  std::vector<std::vector<Values>> results;
  for (const int threads : {1, 2}) {
    const std::unique_ptr<Device> device = make_cpu_device(threads);
    DeviceOperands operands(*device);
    const int64_t rows = 1500;
    const int64_t n = 96;
    const Tensor x = operands.tensor(normal_values(rows * n, 0), rows, n);
    const Tensor w = operands.tensor(Values(n, 0.5), n, 1);
    const Tensor inverse = operands.tensor(Values(rows, 0.75), rows, 1);
    const Tensor dx = operands.tensor(Values(rows * n), rows, n);
    const Tensor dw = operands.tensor(Values(n), n, 1);
    rms_norm_backward(*device, x, w, inverse, operands.tensor(normal_values(rows * n, 1), rows, n), dx, dw);
    results.push_back({operands.values_of(dx), operands.values_of(dw)});
  }
  EXPECT_EQ(results[0], results[1]);
}

GALLEON_ON_EVERY_BACKEND(NormTest);

}  // namespace
}  // namespace galleon

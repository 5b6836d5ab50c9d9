#include "kernels/ops/layer_norm.h"

#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using LayerNormTest = KernelTest;
constexpr float kEpsilon = 1e-5F;
constexpr int64_t kShapes[][2] = {{1, 2},     {1, 8},     {3, 5},    {7, 63},  {65, 64},
                                  {200, 129}, {1100, 33}, {6, 1000}, {3, 9001}};

Values reference(const Values& x, const Values& weight, const Values& bias, int64_t rows, int64_t n) {
  Values y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0;
    double variance = 0;
    for (int64_t i = 0; i < n; ++i) mean += x[r * n + i] / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) variance += std::pow(x[r * n + i] - mean, 2) / static_cast<double>(n);
    const double inverse = 1 / std::sqrt(variance + static_cast<double>(kEpsilon));
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = (x[r * n + i] - mean) * inverse * weight[i] + bias[i];
  }
  return y;
}

TEST_P(LayerNormTest, ForwardMatchesDoublePrecisionAndTheRecomputedOutputHasTheSameBits) {
  for (const auto& [rows, n] : kShapes) {
    for (const Gaps gaps : kEveryGaps) {
      const Values x = normal_values(rows * n, 1, 3.0);
      const Values w = normal_values(n, 2);
      const Values b = normal_values(n, 3);
      const Tensor tx = tensor(x, rows, n, gaps);
      const Tensor tw = tensor(w, n, 1);
      const Tensor tb = tensor(b, n, 1);
      const Tensor y = empty(rows, n, gaps);
      const Tensor again = empty(rows, n, gaps);
      const Tensor statistics = empty(rows, 2);
      layer_norm(*device_, tx, tw, tb, kEpsilon, y, statistics);
      EXPECT_LE(relative_error(values_of(y), reference(x, w, b, rows, n)), 2 * sum_bound(n)) << rows << "x" << n;
      layer_norm_recompute(*device_, tx, tw, tb, statistics, again);
      EXPECT_EQ(values_of(again), values_of(y));
      layer_norm(*device_, tx, tw, tb, kEpsilon, tx, statistics);
      EXPECT_EQ(values_of(tx), values_of(y)) << "in place";
    }
  }
}

TEST_P(LayerNormTest, ALargeMeanDoesNotSwallowTheVariance) {
  Values x = normal_values(4 * 64, 1);
  for (double& v : x) v = static_cast<float>(v + 1000.0);
  const Values w(64, 1.0);
  const Values b(64, 0.0);
  const Tensor y = empty(4, 64);
  layer_norm(*device_, tensor(x, 4, 64), tensor(w, 64, 1), tensor(b, 64, 1), kEpsilon, y, empty(4, 2));
  // The mean itself is rounded at 1000: an absolute error of about 1000·2⁻²⁴ beside a deviation of 1.
  EXPECT_LE(relative_error(values_of(y), reference(x, w, b, 4, 64)), 1000 * sum_bound(64));
}

TEST_P(LayerNormTest, AdditionComesBeforeTheNormAndStays) {
  for (const auto& [rows, n] : kShapes) {
    const Values x = normal_values(rows * n, 1);
    const Values delta = normal_values(rows * n, 3);
    const Values w = normal_values(n, 2);
    const Values b = normal_values(n, 4);
    const Tensor tx = tensor(x, rows, n, true);
    const Tensor y = empty(rows, n);
    add_layer_norm(*device_, tx, tensor(delta, rows, n), tensor(w, 1, n), tensor(b, 1, n), kEpsilon, y, empty(rows, 2));
    Values sum(x.size());
    for (size_t i = 0; i < x.size(); ++i) sum[i] = x[i] + delta[i];
    EXPECT_LE(relative_error(values_of(tx), sum), 2 * kRounding);
    EXPECT_LE(relative_error(values_of(y), reference(values_of(tx), w, b, rows, n)), 2 * sum_bound(n));
  }
}

TEST_P(LayerNormTest, BackwardGivesTheGradientsOfDifferencesAndAddsThoseOfWeightAndBias) {
  for (const auto& [rows, n] : kShapes) {
    if (n == 2) continue;  // two numbers are normalised to ±1: the gradient is zero but for rounding
    const Values x = normal_values(rows * n, 1);
    const Values w = normal_values(n, 2);
    const Values b = normal_values(n, 6);
    const Values dy = normal_values(rows * n, 3);
    const Values before = normal_values(2 * n, 5);
    const Tensor tx = tensor(x, rows, n, true);
    const Tensor tw = tensor(w, n, 1);
    const Tensor y = empty(rows, n);
    const Tensor statistics = empty(rows, 2);
    layer_norm(*device_, tx, tw, tensor(b, n, 1), kEpsilon, y, statistics);
    const Tensor dx = tensor(dy, rows, n, true);
    const Tensor dw = tensor(Values(before.begin(), before.begin() + n), n, 1);
    const Tensor db = tensor(Values(before.begin() + n, before.end()), n, 1);
    layer_norm_backward(*device_, tx, tw, statistics, dx, dx, dw, db);
    Values weight_gradient = values_of(dw);
    Values bias_gradient = values_of(db);
    for (int64_t i = 0; i < n; ++i) {
      weight_gradient[i] -= before[i];
      bias_gradient[i] -= before[n + i];
    }
    const double tolerance = 4 * sum_bound(rows + n);
    expect_gradient(
        "x", x, values_of(dx), [&](const Values& p) { return dot(dy, reference(p, w, b, rows, n)); }, tolerance);
    expect_gradient(
        "weight", w, weight_gradient, [&](const Values& p) { return dot(dy, reference(x, p, b, rows, n)); }, tolerance);
    expect_gradient(
        "bias", b, bias_gradient, [&](const Values& p) { return dot(dy, reference(x, w, p, rows, n)); }, tolerance);
    const Tensor alone = empty(rows, n);
    layer_norm_backward(*device_, tx, tw, statistics, tensor(dy, rows, n), alone, Tensor{}, Tensor{});
    EXPECT_EQ(values_of(alone), values_of(dx)) << "without gradients of weight and bias";
  }
}

GALLEON_ON_EVERY_BACKEND(LayerNormTest);

}  // namespace
}  // namespace galleon

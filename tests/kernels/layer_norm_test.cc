#include "kernels/ops/layer_norm.h"

#include "tests/kernels/cases/norm.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using LayerNormTest = KernelTest;
constexpr float kEpsilon = kNormEpsilon;
constexpr int64_t kShapes[][2] = {{1, 2},     {1, 8},     {3, 5},    {7, 63},  {65, 64},
                                  {200, 129}, {1100, 33}, {6, 1000}, {3, 9001}};

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
      EXPECT_LE(relative_error(values_of(y), layer_norm_exactly(x, w, b, rows, n)), 2 * sum_bound(n))
          << rows << "x" << n;
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
  EXPECT_LE(relative_error(values_of(y), layer_norm_exactly(x, w, b, 4, 64)), 1000 * sum_bound(64));
}

TEST_P(LayerNormTest, TheGradientMayTakeThatOfTheOutputsPlaceAndThoseOfWeightAndBiasMayBeLeftOut) {
  for (const auto& [rows, n] : kShapes) {
    const Values dy = normal_values(rows * n, 3);
    const Tensor x = tensor(normal_values(rows * n, 1), rows, n, true);
    const Tensor weight = tensor(normal_values(n, 2), n, 1);
    const Tensor statistics = empty(rows, 2);
    layer_norm(*device_, x, weight, tensor(normal_values(n, 6), n, 1), kEpsilon, empty(rows, n), statistics);
    const Tensor dx = tensor(dy, rows, n, true);
    const Tensor of_bias = tensor(Values(static_cast<size_t>(n)), n, 1);
    const Tensor of_weight = tensor(Values(static_cast<size_t>(n)), n, 1);
    layer_norm_backward(*device_, x, weight, statistics, dx, dx, of_weight, of_bias);
    const Tensor alone = empty(rows, n);
    layer_norm_backward(*device_, x, weight, statistics, tensor(dy, rows, n), alone, Tensor{}, Tensor{});
    EXPECT_EQ(values_of(alone), values_of(dx)) << rows << "x" << n;
  }
}

GALLEON_ON_EVERY_BACKEND(LayerNormTest);

}  // namespace
}  // namespace galleon

#include "kernels/ops/loss.h"

#include "kernels/ops/reduction.h"
#include "tests/kernels/cases/loss.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using LossTest = KernelTest;
constexpr int64_t kShapes[][2] = {{1, 2}, {5, 7}, {63, 65}, {200, 1000}, {3, 32000}};
constexpr float kScale = 0.25F;

std::vector<int32_t> targets_for(int64_t rows, int64_t n) {
  std::vector<int32_t> targets;
  for (int64_t r = 0; r < rows; ++r) targets.push_back(r % 4 == 2 ? -100 : static_cast<int32_t>(r * 7919 % n));
  return targets;
}

TEST_P(LossTest, LossesMatchDoublePrecisionWithAndWithoutGradient) {
  for (const auto& [rows, n] : kShapes) {
    for (const Gaps gaps : kEveryGaps) {
      const Values logits = normal_values(rows * n, 1, 5.0);
      const std::vector<int32_t> targets = targets_for(rows, n);
      const Tensor x = tensor(logits, rows, n, gaps);
      const Tensor losses = empty(rows, 1);
      const Tensor forward = empty(rows, 1);
      cross_entropy_forward(*device_, x, integers(targets), forward);
      EXPECT_EQ(values_of(x), logits) << "the forward alone writes nothing";
      cross_entropy(*device_, x, integers(targets), kScale, losses, x);
      EXPECT_LE(
          relative_error(values_of(losses), cross_entropy_exactly(logits, Values(targets.begin(), targets.end()), n)),
          sum_bound(n))
          << rows << "x" << n;
      EXPECT_LE(
          relative_error(values_of(forward), cross_entropy_exactly(logits, Values(targets.begin(), targets.end()), n)),
          sum_bound(n))
          << rows << "x" << n;
    }
  }
}

TEST_P(LossTest, GradientIsZeroWithoutATarget) {
  for (const auto& [rows, n] : kShapes) {
    const std::vector<int32_t> targets = targets_for(rows, n);
    const Tensor x = tensor(normal_values(rows * n, 1, 3.0), rows, n, true);
    cross_entropy(*device_, x, integers(targets), kScale, empty(rows, 1), x);
    const Values gradient = values_of(x);
    for (int64_t r = 0; r < rows; ++r) {
      if (targets[r] >= 0) continue;
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(gradient[r * n + i], 0.0);
    }
  }
}

TEST_P(LossTest, LargeLogitsAreStableAndANumberThatIsNotFiniteShows) {
  const Values logits = {1e30,
                         1e30,
                         -1e30,
                         -3e4,
                         2e4,
                         0,
                         std::numeric_limits<double>::quiet_NaN(),
                         0,
                         0,
                         std::numeric_limits<double>::infinity(),
                         0,
                         0};
  const Tensor losses = empty(4, 1);
  const Tensor x = tensor(logits, 4, 3);
  cross_entropy(*device_, x, integers({0, 1, 1, 1}), 1.0F, losses, x);
  const Values actual = values_of(losses);
  EXPECT_NEAR(actual[0], std::log(2.0), 1e-6);
  EXPECT_NEAR(actual[1], 0.0, 1e-6);
  EXPECT_FALSE(std::isfinite(actual[2]));
  EXPECT_FALSE(std::isfinite(actual[3]));
}

TEST_P(LossTest, ATargetOutsideTheVocabularyIsNamedByWhenALossIsRead) {
  const Tensor losses = empty(2, 1);
  EXPECT_DEATH(
      {
        cross_entropy(*device_, empty(2, 3), integers({0, 3}), 1.0F, losses, empty(2, 3));
        sum(*device_, losses);
      },
      "cross_entropy: target 3 of token 1 is outside a vocabulary of 3");
}

TEST_P(LossTest, SquaredErrorAndItsGradientAreTheFormula) {
  const Values outputs = {1.5, -2.0, 0.25, 5.0};
  const Values labels = {1.0, 3.0, 0.25, 4.5};
  const Tensor t = tensor(outputs, 4, 1, true);
  const Tensor losses = empty(4, 1);
  squared_error(*device_, t, tensor(labels, 4, 1), 0.5F, losses, Tensor{});
  EXPECT_EQ(values_of(losses), Values({0.25, 25.0, 0.0, 0.25}));
  EXPECT_EQ(values_of(t), outputs);
  squared_error(*device_, t, tensor(labels, 4, 1), 0.5F, losses, t);
  EXPECT_EQ(values_of(t), Values({0.5, -5.0, 0.0, 0.5})) << "the gradient may take the outputs' place";
}

GALLEON_ON_EVERY_BACKEND(LossTest);

}  // namespace
}  // namespace galleon

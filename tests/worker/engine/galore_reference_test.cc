// GaLore-AdamW against recorded runs of the reference's formulas (tests/fixtures/make_galore.py), and the factor path
// against projecting the formed gradient.
#include <random>

#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "tests/worker/engine/one_matrix.h"
#include "tests/worker/engine/reference_support.h"

namespace galleon {
namespace {

constexpr int64_t kSteps = 60;
constexpr int64_t kInterval = 40;
constexpr int64_t kRank = 6;

OptimizerOptions recorded_options() {
  OptimizerOptions o;
  o.learning_rate = 0.01;
  o.weight_decay = 0.05;
  o.schedule = {ScheduleType::kConstant, 0, 0.1, kSteps};
  o.galore = GaloreOptions{};
  o.galore->rank = kRank;
  o.galore->refresh = RefreshMethod::kExact;
  o.galore->refresh_interval = kInterval;
  o.galore->stagger = false;
  return o;
}

struct Shape {
  const char* name;
  int64_t out, in;
};

class GaloreReference : public testing::TestWithParam<Shape> {};

TEST_P(GaloreReference, SixtyStepsWithAnInjectedBasisGiveTheRecordedWeights) {
  const auto [name, out, in] = GetParam();
  const SafetensorsReader reference = open_fixture("galore_adamw");
  const std::string prefix = std::string(name) + ".";
  OneMatrix matrix(out, in, recorded_options());
  set_weight(matrix.parameter(), matrix.device(), fixture(reference, prefix + "weight").data());
  matrix.optimizer().inject_basis(0, fixture(reference, prefix + "basis").data());
  const std::vector<float> gradients = fixture(reference, prefix + "gradients");
  for (int64_t t = 1; t <= kSteps; ++t) matrix.step(t, gradients.data() + (t - 1) * out * in);
  EXPECT_LT(
      relative_difference(get_weight(matrix.parameter(), matrix.device()), fixture(reference, prefix + "injected")),
      1e-5);
}

TEST_P(GaloreReference, ExactBasesGiveTheRecordedWeightsUpToTheSecondRefresh) {
  const auto [name, out, in] = GetParam();
  const SafetensorsReader reference = open_fixture("galore_adamw");
  const std::string prefix = std::string(name) + ".";
  OneMatrix matrix(out, in, recorded_options());
  set_weight(matrix.parameter(), matrix.device(), fixture(reference, prefix + "weight").data());
  const std::vector<float> gradients = fixture(reference, prefix + "gradients");
  for (int64_t t = 1; t <= kInterval; ++t) matrix.step(t, gradients.data() + (t - 1) * out * in);
  // The sign of a singular vector is arbitrary, but Adam's update of a coordinate is odd in it: the projected-back
  // update is not changed.
  EXPECT_LT(relative_difference(get_weight(matrix.parameter(), matrix.device()), fixture(reference, prefix + "exact")),
            1e-4);
}

INSTANTIATE_TEST_SUITE_P(Shapes, GaloreReference,
                         testing::Values(Shape{"wide", 12, 20}, Shape{"tall", 24, 16}, Shape{"square", 16, 16}),
                         [](const auto& test) { return std::string(test.param.name); });

struct FactorCase {
  int64_t out, in, tokens, rank;
  ProjectionSide side;
};

class FactorPath : public testing::TestWithParam<FactorCase> {};

TEST_P(FactorPath, AccumulatesWhatProjectingTheFormedGradientWould) {
  const FactorCase c = GetParam();
  OptimizerOptions o = recorded_options();
  o.galore->rank = c.rank;
  o.galore->side = c.side;
  // The first moment after one step from zero is (1 − β₁)·R: with β₁ = 0 it is R itself.
  o.beta1 = 0.0;
  OneMatrix matrix(c.out, c.in, o);
  const Parameter& p = matrix.parameter();
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  const auto drawn = [&](int64_t count) {
    std::vector<float> numbers(static_cast<size_t>(count));
    for (float& number : numbers) number = normal(random);
    return numbers;
  };
  const std::vector<float> x_numbers = drawn(c.tokens * c.in);
  const std::vector<float> dy_numbers = drawn(c.tokens * c.out);
  const Tensor x = matrix.scratch("x", c.tokens, c.in, x_numbers);
  const Tensor dy = matrix.scratch("dy", c.tokens, c.out, dy_numbers);
  const Tensor start = matrix.scratch("basis", p.columns(), p.rank, drawn(p.columns() * p.rank));
  ASSERT_TRUE(orthonormalize(matrix.device(), start, 1));
  const std::vector<float> basis = matrix.numbers_of(start);
  matrix.optimizer().inject_basis(0, basis.data());

  matrix.optimizer().begin_step(2);
  matrix.optimizer().begin_micro_batch(0);
  matrix.optimizer().linear(0, x, dy);
  matrix.optimizer().finished(0);
  matrix.optimizer().end_step();
  const Tensor moment = matrix.optimizer().state()[0].tensor;

  std::vector<float> expected(p.rows() * p.rank);
  for (int64_t i = 0; i < p.rows(); ++i) {
    for (int64_t k = 0; k < p.rank; ++k) {
      double sum = 0;
      for (int64_t j = 0; j < p.columns(); ++j) {
        double g = 0;
        for (int64_t t = 0; t < c.tokens; ++t) {
          const int64_t row = p.transposed ? j : i;  // of the out×in gradient
          const int64_t column = p.transposed ? i : j;
          g += static_cast<double>(dy_numbers[t * c.out + row]) * x_numbers[t * c.in + column];
        }
        sum += g * basis[j * p.rank + k];
      }
      expected[i * p.rank + k] = static_cast<float>(sum);
    }
  }
  const std::vector<float> actual = matrix.numbers_of(moment);
  // Sums of `tokens` and of `columns` products, each rounded to 24 bits.
  EXPECT_LT(relative_difference(actual, expected), 3e-6);
}

INSTANTIATE_TEST_SUITE_P(
    ShapesAndSides, FactorPath,
    testing::Values(FactorCase{24, 16, 40, 5, ProjectionSide::kStd}, FactorCase{16, 24, 40, 5, ProjectionSide::kStd},
                    FactorCase{16, 16, 40, 16, ProjectionSide::kStd},
                    FactorCase{24, 16, 7, 5, ProjectionSide::kReverseStd},
                    FactorCase{16, 24, 7, 5, ProjectionSide::kReverseStd},
                    FactorCase{33, 17, 19, 3, ProjectionSide::kLeft}, FactorCase{17, 33, 19, 3, ProjectionSide::kLeft},
                    FactorCase{33, 17, 19, 3, ProjectionSide::kRight}, FactorCase{17, 33, 1, 3, ProjectionSide::kRight},
                    FactorCase{5, 9, 3, 40, ProjectionSide::kStd}));

}  // namespace
}  // namespace galleon

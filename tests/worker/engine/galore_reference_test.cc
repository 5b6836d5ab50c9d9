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
  const Tensor x = matrix.scratch("x", c.tokens, c.in);
  const Tensor dy = matrix.scratch("dy", c.tokens, c.out);
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < x.size(); ++i) x.f32()[i] = normal(random);
  for (int64_t i = 0; i < dy.size(); ++i) dy.f32()[i] = normal(random);
  const Tensor basis = matrix.scratch("basis", p.columns(), p.rank);
  for (int64_t i = 0; i < basis.size(); ++i) basis.f32()[i] = normal(random);
  ASSERT_TRUE(orthonormalize(matrix.device(), basis, 1));
  matrix.optimizer().inject_basis(0, basis.f32());

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
          g += static_cast<double>(dy.f32()[t * c.out + row]) * x.f32()[t * c.in + column];
        }
        sum += g * basis.f32()[j * p.rank + k];
      }
      expected[i * p.rank + k] = static_cast<float>(sum);
    }
  }
  const std::vector<float> actual(moment.f32(), moment.f32() + moment.size());
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

TEST(Refresh, AGradientThatIsNotFiniteKeepsTheBasisAndIsCounted) {
  for (const RefreshMethod method : {RefreshMethod::kExact, RefreshMethod::kSubspace}) {
    OptimizerOptions o = recorded_options();
    o.galore->refresh = method;
    o.galore->refresh_interval = 1;
    OneMatrix matrix(24, 16, o);
    std::mt19937_64 random(5);
    std::normal_distribution<float> normal;
    std::vector<float> gradient(24 * 16);
    for (float& g : gradient) g = normal(random);
    matrix.step(1, gradient.data());
    const Tensor basis = matrix.optimizer().state()[2].tensor;
    const std::vector<float> before(basis.f32(), basis.f32() + basis.size());
    const std::vector<float> weight = get_weight(matrix.parameter(), matrix.device());
    gradient[7] = std::nanf("");
    const Tensor x = matrix.scratch("x", 24, 16);
    const Tensor identity = matrix.scratch("i", 24, 24);
    for (int64_t i = 0; i < 24; ++i) identity.f32()[i * 24 + i] = 1.0F;
    matrix.device().upload(x, gradient.data());
    matrix.optimizer().begin_step(2);
    matrix.optimizer().begin_micro_batch(0);
    matrix.optimizer().linear(0, x, identity);
    matrix.optimizer().finished(0);
    const StepReport report = matrix.optimizer().end_step();
    EXPECT_EQ(report.skipped_refreshes, 1);
    EXPECT_EQ(report.refreshed, 0);
    EXPECT_EQ(std::vector<float>(basis.f32(), basis.f32() + basis.size()), before);
    for (const float w : get_weight(matrix.parameter(), matrix.device())) ASSERT_TRUE(std::isfinite(w));
  }
}

TEST(Refresh, WarmIterationFollowsTheLeadingSubspaceOfADriftingGradient) {
  OptimizerOptions o = recorded_options();
  o.galore->refresh = RefreshMethod::kSubspace;
  o.galore->refresh_interval = 1;
  const SafetensorsReader reference = open_fixture("galore_adamw");
  const std::vector<float> gradients = fixture(reference, "tall.gradients");
  OneMatrix matrix(24, 16, o);
  for (int64_t t = 1; t <= kSteps; ++t) {
    matrix.step(t, gradients.data() + (t - 1) * 24 * 16);
    // Energy kept by the basis against the optimum of the same rank.
    const Tensor g = matrix.scratch("g", 24, 16);
    matrix.device().upload(g, gradients.data() + (t - 1) * 24 * 16);
    const Tensor best = matrix.scratch("best", 16, kRank);
    const Tensor kept = matrix.scratch("kept", 24, kRank);
    const Tensor basis = matrix.optimizer().state()[2].tensor;
    auto energy = [&](const Tensor& p) {
      matmul(matrix.device(), g, Transpose::kNo, p, Transpose::kNo, kept);
      double sum = 0;
      for (int64_t i = 0; i < kept.size(); ++i) sum += static_cast<double>(kept.f32()[i]) * kept.f32()[i];
      return sum;
    };
    const double found = energy(basis);
    const Tensor destroyed = matrix.scratch("d", 24, 16);
    matrix.device().upload(destroyed, gradients.data() + (t - 1) * 24 * 16);
    ASSERT_TRUE(right_singular_vectors(matrix.device(), destroyed, best));
    EXPECT_GT(found, 0.92 * energy(best)) << "step " << t;
  }
}

}  // namespace
}  // namespace galleon

// Refreshes of one matrix: which basis is found, what is measured, how often, and what a bad gradient does.
#include <random>

#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "tests/worker/engine/one_matrix.h"
#include "tests/worker/engine/reference_support.h"
#include "worker/engine/optim/basis.h"

namespace galleon {
namespace {

constexpr int64_t kOut = 24;
constexpr int64_t kIn = 16;
constexpr int64_t kRank = 6;

OptimizerOptions every_step() {
  OptimizerOptions o;
  o.learning_rate = 0.01;
  o.schedule = {ScheduleType::kConstant, 0, 0.1, 100};
  o.galore = GaloreOptions{};
  o.galore->rank = kRank;
  o.galore->refresh_interval = 1;
  o.galore->stagger = false;
  return o;
}

// Gradients that drift, as recorded for AdamW.
std::vector<float> drifting() {
  return fixture(open_fixture("galore_adamw"), "tall.gradients");
}

std::vector<float> copy_of(const Tensor& t) {
  return {t.f32(), t.f32() + t.size()};
}

double energy(OneMatrix& matrix, const float* gradient, const Tensor& basis) {
  const Tensor g = matrix.scratch("g", kOut, kIn);
  matrix.device().upload(g, gradient);
  const Tensor kept = matrix.scratch("kept", kOut, basis.columns);
  matmul(matrix.device(), g, Transpose::kNo, basis, Transpose::kNo, kept);
  double sum = 0;
  for (int64_t i = 0; i < kept.size(); ++i) sum += static_cast<double>(kept.f32()[i]) * kept.f32()[i];
  return sum;
}

double squares(const float* x, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

double best_energy(OneMatrix& matrix, const float* gradient) {
  const Tensor best = matrix.scratch("best", kIn, kRank);
  const Tensor destroyed = matrix.scratch("d", kOut, kIn);
  matrix.device().upload(destroyed, gradient);
  EXPECT_TRUE(right_singular_vectors(matrix.device(), destroyed, best));
  return energy(matrix, gradient, best);
}

struct RuleCase {
  const char* name;
  MomentRule rule;
};
class BadGradient : public testing::TestWithParam<RuleCase> {};

TEST_P(BadGradient, KeepsTheBasisTheMomentsAndTheWeightAndIsCounted) {
  for (const RefreshMethod method : {RefreshMethod::kExact, RefreshMethod::kSubspace}) {
    for (const ProjectionSide side : {ProjectionSide::kStd, ProjectionSide::kFull}) {
      for (const bool per_layer : {false, true}) {
        OptimizerOptions o = every_step();
        o.rule = GetParam().rule;
        o.galore->refresh = method;
        o.galore->side = side;
        o.per_layer = per_layer;
        OneMatrix matrix(kOut, kIn, o);
        std::vector<float> gradients = drifting();
        matrix.step(1, gradients.data());
        std::vector<std::vector<float>> before;
        for (const StatePiece& piece : matrix.optimizer().state()) before.push_back(copy_of(piece.tensor));
        const std::vector<float> weight = get_weight(matrix.parameter(), matrix.device());
        gradients[7] = std::nanf("");
        const StepReport report = matrix.step(2, gradients.data());
        EXPECT_EQ(report.skipped_refreshes, 1);
        EXPECT_EQ(report.refreshed, 0);
        EXPECT_EQ(report.energies, 0);
        std::vector<std::vector<float>> after;
        for (const StatePiece& piece : matrix.optimizer().state()) after.push_back(copy_of(piece.tensor));
        EXPECT_EQ(after, before);
        EXPECT_EQ(get_weight(matrix.parameter(), matrix.device()), weight);
        EXPECT_EQ(matrix.step(3, gradients.data() + 2 * kOut * kIn).refreshed, 1);
      }
    }
  }
}

TEST_P(BadGradient, InTheFirstStepLeavesTheBasisThatTheSearchBeganWith) {
  for (const RefreshMethod method : {RefreshMethod::kExact, RefreshMethod::kSubspace}) {
    for (const ProjectionSide side : {ProjectionSide::kStd, ProjectionSide::kFull}) {
      OptimizerOptions o = every_step();
      o.rule = GetParam().rule;
      o.galore->refresh = method;
      o.galore->side = side;
      o.galore->refresh_interval = 5;
      OneMatrix matrix(kOut, kIn, o);
      std::vector<float> gradients = drifting();
      const float good = std::exchange(gradients[7], INFINITY);
      EXPECT_EQ(matrix.step(1, gradients.data()).skipped_refreshes, 1);
      const Tensor basis = matrix.state("w.basis");
      EXPECT_NEAR(overlap(matrix.device(), basis, basis), 1.0, 1e-5) << "orthonormal columns";
      if (side == ProjectionSide::kFull) {
        const Tensor rows = matrix.state("w.row_basis");
        EXPECT_NEAR(overlap(matrix.device(), rows, rows), 1.0, 1e-5);
      }
      gradients[7] = good;
      EXPECT_EQ(matrix.step(2, gradients.data()).refreshed, 0) << "the next is due in step 6";
      EXPECT_EQ(matrix.step(6, gradients.data()).refreshed, 1);
      for (const float w : get_weight(matrix.parameter(), matrix.device())) ASSERT_TRUE(std::isfinite(w));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, BadGradient,
                         testing::Values(RuleCase{"AdamW", MomentRule::kAdamW},
                                         RuleCase{"Adam8bit", MomentRule::kAdam8bit},
                                         RuleCase{"Adafactor", MomentRule::kAdafactor},
                                         RuleCase{"Sgd", MomentRule::kSgd}, RuleCase{"Muon", MomentRule::kMuon}),
                         [](const auto& test) { return test.param.name; });

TEST(Refresh, WarmIterationFollowsTheLeadingSubspaceOfADriftingGradient) {
  const std::vector<float> gradients = drifting();
  OneMatrix matrix(kOut, kIn, every_step());
  for (int64_t t = 1; t <= 60; ++t) {
    const float* g = gradients.data() + (t - 1) * kOut * kIn;
    const StepReport report = matrix.step(t, g);
    const double found = energy(matrix, g, matrix.state("w.basis"));
    EXPECT_GT(found, 0.92 * best_energy(matrix, g)) << "step " << t;
    ASSERT_EQ(report.energies, 1);
    EXPECT_NEAR(report.energy_sum, found / squares(g, kOut * kIn), 1e-5);
    if (t > 1) {
      EXPECT_GT(report.overlap_sum, 0.3);
    }
  }
}

TEST(Refresh, TheExactBasisKeepsAllThatARankCan) {
  for (const bool first_only : {false, true}) {
    OptimizerOptions o = every_step();
    o.galore->refresh = first_only ? RefreshMethod::kSubspace : RefreshMethod::kExact;
    o.galore->exact_first_basis = first_only;
    OneMatrix matrix(kOut, kIn, o);
    const std::vector<float> gradients = drifting();
    matrix.step(1, gradients.data());
    EXPECT_NEAR(energy(matrix, gradients.data(), matrix.state("w.basis")) / best_energy(matrix, gradients.data()), 1.0,
                1e-5);
  }
}

TEST(Refresh, BothBasesOfAnExactRefreshAreTheSingularVectors) {
  OptimizerOptions o = every_step();
  o.galore->side = ProjectionSide::kFull;
  o.galore->refresh = RefreshMethod::kExact;
  o.beta1 = 0;  // the first moment is R itself
  OneMatrix matrix(kOut, kIn, o);
  const std::vector<float> gradients = drifting();
  const StepReport report = matrix.step(1, gradients.data());
  EXPECT_NEAR(report.energy_sum, best_energy(matrix, gradients.data()) / squares(gradients.data(), kOut * kIn), 1e-5);
  const Tensor r = matrix.state("w.first_moment");
  ASSERT_EQ(r.rows, kRank);
  ASSERT_EQ(r.columns, kRank);
  // UᵀGV is the diagonal of singular values.
  for (int64_t i = 0; i < kRank; ++i) {
    for (int64_t j = 0; j < kRank; ++j) {
      if (i == j) {
        EXPECT_GT(r.f32()[i * kRank + i], 0);
      }
      if (i != j) {
        EXPECT_NEAR(r.f32()[i * kRank + j], 0, 1e-4 * static_cast<double>(r.f32()[0]));
      }
    }
  }
}

TEST(Refresh, RandomBasesAreOrthonormalNewAtEveryRefreshAndOfTheSeed) {
  OptimizerOptions o = every_step();
  o.galore->refresh = RefreshMethod::kRandom;
  o.galore->refresh_interval = 2;
  const std::vector<float> gradients = drifting();
  std::vector<std::vector<float>> bases;
  for (const uint64_t seed : {42, 42, 43}) {
    o.galore->seed = seed;
    OneMatrix matrix(kOut, kIn, o);
    EXPECT_EQ(matrix.step(1, gradients.data()).refreshed, 1);
    const std::vector<float> first = copy_of(matrix.state("w.basis"));
    EXPECT_EQ(matrix.step(2, gradients.data()).refreshed, 0);
    EXPECT_EQ(copy_of(matrix.state("w.basis")), first);
    const StepReport report = matrix.step(3, gradients.data());
    EXPECT_EQ(report.refreshed, 1);
    EXPECT_LT(report.overlap_sum, 0.9);
    EXPECT_NE(copy_of(matrix.state("w.basis")), first);
    EXPECT_NEAR(overlap(matrix.device(), matrix.state("w.basis"), matrix.state("w.basis")), 1.0, 1e-5);
    bases.push_back(copy_of(matrix.state("w.basis")));
  }
  EXPECT_EQ(bases[0], bases[1]);
  EXPECT_NE(bases[0], bases[2]);
}

TEST(Refresh, MomentsAreKeptTurnedOrForgotten) {
  const std::vector<float> gradients = drifting();
  for (const MomentsAtRefresh moments :
       {MomentsAtRefresh::kKeep, MomentsAtRefresh::kRotate, MomentsAtRefresh::kReset}) {
    OptimizerOptions o = every_step();
    o.galore->moments = moments;
    o.galore->refresh_interval = 3;
    OneMatrix matrix(kOut, kIn, o);
    for (int64_t t = 1; t <= 3; ++t) matrix.step(t, gradients.data() + (t - 1) * kOut * kIn);
    const std::vector<float> old_basis = copy_of(matrix.state("w.basis"));
    const std::vector<float> old = copy_of(matrix.state("w.first_moment"));
    const float* g = gradients.data() + 3 * kOut * kIn;
    matrix.step(4, g);
    const std::vector<float> basis = copy_of(matrix.state("w.basis"));
    const std::vector<float> found = copy_of(matrix.state("w.first_moment"));
    std::vector<float> expected(found.size());
    for (int64_t i = 0; i < kOut; ++i) {
      for (int64_t k = 0; k < kRank; ++k) {
        double r = 0;
        for (int64_t j = 0; j < kIn; ++j) r += static_cast<double>(g[i * kIn + j]) * basis[j * kRank + k];
        double m = moments == MomentsAtRefresh::kKeep ? static_cast<double>(old[i * kRank + k]) : 0.0;
        for (int64_t l = 0; moments == MomentsAtRefresh::kRotate && l < kRank; ++l) {
          double cosine = 0;
          for (int64_t j = 0; j < kIn; ++j)
            cosine += static_cast<double>(old_basis[j * kRank + l]) * basis[j * kRank + k];
          m += static_cast<double>(old[i * kRank + l]) * cosine;
        }
        expected[i * kRank + k] = static_cast<float>(0.9 * m + 0.1 * r);
      }
    }
    EXPECT_LT(relative_difference(found, expected), 1e-5);
    EXPECT_EQ(matrix.optimizer().counts()[0], moments == MomentsAtRefresh::kReset ? 1 : 4);
  }
}

TEST(LazyRefresh, DoublesTheIntervalAfterTwoAlikeAndRestoresItAfterOneThatTurned) {
  RefreshPace pace{10, 0, 0};
  pace.refreshed(11, 0.8, 0.5, 10);
  EXPECT_EQ(pace.not_before, 21);
  pace.refreshed(21, 0.8, 0.5, 10);
  EXPECT_EQ(pace.interval, 20);
  EXPECT_EQ(pace.not_before, 41);
  pace.refreshed(41, 0.5, 0.5, 10);  // not above it
  EXPECT_EQ(pace.interval, 10);
  EXPECT_EQ(pace.not_before, 51);
  for (const int64_t step : {51, 61, 81, 101}) pace.refreshed(step, 0.9, 0.5, 10);
  EXPECT_EQ(pace.interval, 40);
  EXPECT_EQ(pace.not_before, 141);
}

TEST(LazyRefresh, ASteadyGradientIsRefreshedMoreAndMoreRarelyAndAJumpBringsTheIntervalBack) {
  OptimizerOptions o = every_step();
  o.galore->refresh_interval = 2;
  o.galore->lazy_threshold = 0.9;
  OneMatrix matrix(kOut, kIn, o);
  const std::vector<float> gradients = drifting();
  std::vector<int64_t> refreshed;
  for (int64_t t = 1; t <= 40; ++t) {
    // From step 32 on another gradient: the last, its columns reversed.
    std::vector<float> g(gradients.begin(), gradients.begin() + kOut * kIn);
    if (t >= 32) std::reverse(g.begin(), g.end());
    if (matrix.step(t, g.data()).refreshed > 0) refreshed.push_back(t);
  }
  // Intervals 2, 2, then 4, 4, then 8, 8: the next, at step 37 after 16, sees the jump.
  EXPECT_EQ(refreshed, (std::vector<int64_t>{1, 3, 5, 9, 13, 21, 29}));
  for (int64_t t = 41; t <= 50; ++t) {
    std::vector<float> g(gradients.begin(), gradients.begin() + kOut * kIn);
    std::reverse(g.begin(), g.end());
    if (matrix.step(t, g.data()).refreshed > 0) refreshed.push_back(t);
  }
  EXPECT_EQ(std::vector<int64_t>(refreshed.begin() + 7, refreshed.end()), (std::vector<int64_t>{45, 47, 49}));
}

TEST(Basis, EveryTypeTakesItsBytesAndStaysNearWhatWasStored) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  const int64_t rows = 128;
  const int64_t rank = 32;
  struct Expected {
    BasisType type;
    int64_t bytes;
    double error;
  };
  // Of orthonormal columns: fp32 exactly, bf16 to 2^-9 of each number, codes to a part of the largest of their block.
  const Expected all[] = {{BasisType::kFp32, 4 * rows * rank, 0.0},
                          {BasisType::kBf16, 2 * rows * rank, 0.002},
                          {BasisType::kInt8, rows * rank + 4 * rows * rank / 256, 0.01},
                          {BasisType::kInt4, rows * rank / 2 + 4 * rows * rank / 64, 0.15}};
  for (const Expected& expected : all) {
    Arena arena(*device);
    const Tensor x = arena.tensor("x", MemoryCategory::kActivations, rows, rank);
    std::mt19937_64 random(5);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < x.size(); ++i) x.f32()[i] = normal(random);
    ASSERT_TRUE(orthonormalize(*device, x, 1));
    const Basis basis("basis", rows, rank, expected.type, arena);
    EXPECT_EQ(device->ledger().bytes(MemoryCategory::kSubspaces), expected.bytes);
    basis.store(*device, x);
    const BasisNumbers numbers(*device, basis, DataType::kFloat32);
    double error = 0;
    for (int64_t i = 0; i < x.size(); ++i)
      error += std::pow(static_cast<double>(numbers.tensor().f32()[i]) - x.f32()[i], 2);
    EXPECT_LE(std::sqrt(error / rank), expected.error);
    const BasisNumbers narrow(*device, basis, DataType::kBFloat16);
    for (int64_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(math::to_float(narrow.tensor().bf16()[i]), numbers.tensor().f32()[i],
                  0.004 * std::abs(numbers.tensor().f32()[i]));
    }
  }
}

}  // namespace
}  // namespace galleon

// SCALE, APOLLO, APOLLO-Mini and Fira: each beside its formulas in double precision, and in whole runs over passes,
// ranks and stages.
#include <cmath>
#include <limits>
#include <optional>

#include "kernels/ops/random.h"
#include "tests/worker/engine/one_matrix.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/optim/scaled_gradient.h"

namespace galleon {
namespace {

using Numbers = std::vector<double>;

constexpr int64_t kRows = 24;
constexpr int64_t kColumns = 10;
constexpr int64_t kRank = 4;
constexpr int kSteps = 7;
constexpr double kRate = 0.01;

OptimizerOptions options_of(MomentRule rule) {
  OptimizerOptions o;
  o.rule = rule;
  o.learning_rate = kRate;
  o.momentum = 0.9;
  o.projection.rank = rule == MomentRule::kApolloMini ? 1 : kRank;
  o.projection.refresh_interval = 3;
  o.projection.scale = rule == MomentRule::kApolloMini ? 128 : rule == MomentRule::kFira ? 0.25 : 1;
  o.schedule = {ScheduleType::kConstant, 0, 0.1, kSteps};
  return o;
}

// Larger in later steps, so that growth is limited in some of them.
std::vector<float> gradient_at(int step) {
  std::vector<float> g;
  for (int64_t i = 0; i < kRows * kColumns; ++i)
    g.push_back(static_cast<float>(step * std::sin(static_cast<double>(i * i % 97 + step * i % 13))));
  return g;
}

Numbers product(const Numbers& a, const Numbers& b, int64_t m, int64_t k, int64_t n) {
  Numbers c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t l = 0; l < k; ++l) c[i * n + j] += a[i * k + l] * b[l * n + j];
    }
  }
  return c;
}

double row_norm(const Numbers& x, int64_t row, int64_t n) {
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += x[row * n + j] * x[row * n + j];
  return std::sqrt(sum);
}

double norm(const Numbers& x) {
  return row_norm(x, 0, static_cast<int64_t>(x.size()));
}

// The formulas of APOLLO and Fira for a kRows×kColumns matrix whose columns are projected.
class Formulas {
 public:
  explicit Formulas(const OptimizerOptions& options)
      : o_(options), m_(kRows * options.projection.rank), v_(kRows * options.projection.rank) {}

  // The update of step t with that projection (kColumns × rank), which the learning rate is to multiply.
  Numbers update(int t, const Numbers& g, const Numbers& p) {
    const int64_t rank = o_.projection.rank;
    const Numbers r = product(g, p, kRows, kColumns, rank);
    Numbers n(r.size());
    for (size_t i = 0; i < r.size(); ++i) {
      m_[i] = 0.9 * m_[i] + 0.1 * r[i];
      v_[i] = 0.999 * v_[i] + 0.001 * r[i] * r[i];
      n[i] = m_[i] / (std::sqrt(v_[i]) + 1e-6);
    }
    Numbers s = g;
    const bool fira = o_.rule == MomentRule::kFira;
    const double alpha = o_.projection.scale;
    Numbers back(g.size());
    for (int64_t i = 0; i < kRows; ++i) {
      const double of_row = row_norm(n, i, rank) / (row_norm(r, i, rank) + 1e-8);
      for (int64_t j = 0; j < kColumns; ++j) {
        double projected = 0;
        for (int64_t l = 0; l < rank; ++l) {
          projected += r[i * rank + l] * p[j * rank + l];
          back[i * kColumns + j] += n[i * rank + l] * p[j * rank + l];
        }
        double& x = s[i * kColumns + j];
        if (fira) x -= (o_.projection.residual == Residual::kScaled ? alpha : 1.0) * projected;
        x *= o_.rule == MomentRule::kApolloMini ? norm(n) / (norm(r) + 1e-8) : of_row;
      }
    }
    const double found = norm(s);
    const double part = before_ > 0 && found > 1.01 * before_ ? 1.01 * before_ / found : 1.0;
    limited_ += part < 1 ? 1 : 0;
    before_ = found * part;
    const double correction = std::sqrt(1 - std::pow(0.999, t)) / (1 - std::pow(0.9, t));
    for (size_t i = 0; i < s.size(); ++i)
      s[i] = correction * (fira ? alpha * back[i] + part * s[i] : std::sqrt(alpha) * part * s[i]);
    return s;
  }
  int limited() const { return limited_; }

 private:
  OptimizerOptions o_;
  Numbers m_, v_;
  double before_ = 0;
  int limited_ = 0;
};

Numbers doubles(const std::vector<float>& x) {
  return {x.begin(), x.end()};
}

class ProjectingRules : public testing::TestWithParam<std::pair<MomentRule, Residual>> {};

TEST_P(ProjectingRules, FollowTheirFormulasInDoublePrecision) {
  OptimizerOptions o = options_of(GetParam().first);
  o.projection.residual = GetParam().second;
  OneMatrix one(kRows, kColumns, o);
  set_weight(one.parameter(), one.device(), std::vector<float>(kRows * kColumns).data());
  const Tensor random = one.scratch("random", kColumns, o.projection.rank);
  Formulas formulas(o);
  Numbers weight(kRows * kColumns);
  for (int t = 1; t <= kSteps; ++t) {
    const std::vector<float> g = gradient_at(t);
    one.step(t, g.data());
    Numbers p;
    if (o.rule == MomentRule::kFira) {
      p = doubles(one.numbers_of(one.state("w.basis")));
    } else {
      fill_normal(one.device(), random, seed_of(o.projection.seed, "w", (t - 1) / 3), 0, 0, 0.0F,
                  static_cast<float>(1 / std::sqrt(static_cast<double>(o.projection.rank))));
      p = doubles(one.numbers_of(random));
    }
    const Numbers step = formulas.update(t, doubles(g), p);
    for (size_t i = 0; i < weight.size(); ++i) weight[i] -= kRate * step[i];
    const std::vector<float> found = get_weight(one.parameter(), one.device());
    double error = 0;
    for (size_t i = 0; i < weight.size(); ++i) error = std::max(error, std::fabs(found[i] - weight[i]));
    EXPECT_LT(error, 2e-5 * norm(weight)) << "step " << t;
  }
  EXPECT_GT(formulas.limited(), 0) << "growth was to be limited";
}

INSTANTIATE_TEST_SUITE_P(All, ProjectingRules,
                         testing::Values(std::pair{MomentRule::kApollo, Residual::kProjected},
                                         std::pair{MomentRule::kApolloMini, Residual::kProjected},
                                         std::pair{MomentRule::kFira, Residual::kProjected},
                                         std::pair{MomentRule::kFira, Residual::kScaled}));

TEST(Scale, DividesColumnsAnEmbeddingsRowsAndAveragesTheHeadAlone) {
  for (const ParameterGroup group : {ParameterGroup::kMlp, ParameterGroup::kEmbedding, ParameterGroup::kHead}) {
    OneMatrix one(kRows, kColumns, options_of(MomentRule::kScale), 1, group);
    set_weight(one.parameter(), one.device(), std::vector<float>(kRows * kColumns).data());
    Numbers weight(kRows * kColumns), buffer(kRows * kColumns);
    for (int t = 1; t <= kSteps; ++t) {
      std::vector<float> g = gradient_at(t);
      if (group == ParameterGroup::kEmbedding) std::fill_n(g.begin() + 3 * kColumns, kColumns, 0.0F);  // a token unseen
      one.step(t, g.data());
      for (size_t i = 0; i < g.size(); ++i)
        buffer[i] = group == ParameterGroup::kHead ? 0.9 * buffer[i] + 0.1 * g[i] : g[i];
      for (int64_t i = 0; i < kRows; ++i) {
        for (int64_t j = 0; j < kColumns; ++j) {
          double squares = 0;
          const bool by_rows = group == ParameterGroup::kEmbedding;
          const int64_t count = by_rows ? kColumns : kRows;
          for (int64_t l = 0; l < count; ++l)
            squares += std::pow(by_rows ? buffer[i * kColumns + l] : buffer[l * kColumns + j], 2);
          weight[i * kColumns + j] -=
              kRate * buffer[i * kColumns + j] / (std::sqrt(squares / static_cast<double>(count)) + 1e-8);
        }
      }
    }
    const std::vector<float> found = get_weight(one.parameter(), one.device());
    for (size_t i = 0; i < weight.size(); ++i) ASSERT_NEAR(found[i], weight[i], 1e-6) << i;
  }
}

// A matrix behind one that was drawn as zeros has no gradient at first. Then it has no update, and the next is that of
// the moments that saw nothing.
TEST(WholeGradients, OfZerosMoveNothingAndLeaveWhatFollowsFinite) {
  for (const MomentRule rule : {MomentRule::kScale, MomentRule::kApollo, MomentRule::kApolloMini, MomentRule::kFira,
                                MomentRule::kMuon, MomentRule::kMuon8bit}) {
    OneMatrix one(kRows, kColumns, options_of(rule));
    const std::vector<float> begun(kRows * kColumns, 0.5F);
    set_weight(one.parameter(), one.device(), begun.data());
    const std::vector<float> none(kRows * kColumns);
    for (int t = 1; t <= 2; ++t) one.step(t, none.data());
    EXPECT_EQ(get_weight(one.parameter(), one.device()), begun) << static_cast<int>(rule);
    for (int t = 3; t <= kSteps; ++t) one.step(t, gradient_at(t).data());
    const std::vector<float> moved = get_weight(one.parameter(), one.device());
    EXPECT_NE(moved, begun) << static_cast<int>(rule);
    for (const float w : moved) ASSERT_TRUE(std::isfinite(w)) << static_cast<int>(rule);
  }
}

// Then a run whose first gradient is bad is one that begins a step later, and not one without a basis for an interval.
TEST(WholeGradients, TheFirstGoodOneFindsWhatABadOneDidNot) {
  for (const MomentRule rule : {MomentRule::kApollo, MomentRule::kApolloMini, MomentRule::kFira}) {
    OptimizerOptions options = options_of(rule);
    options.projection.refresh_interval = 1000;
    OneMatrix late(kRows, kColumns, options), plain(kRows, kColumns, options);
    const std::vector<float> begun(kRows * kColumns, 0.5F);
    for (OneMatrix* one : {&late, &plain}) set_weight(one->parameter(), one->device(), begun.data());
    const std::vector<float> bad(kRows * kColumns, std::numeric_limits<float>::quiet_NaN());
    late.step(1, bad.data());
    EXPECT_EQ(get_weight(late.parameter(), late.device()), begun);
    for (int t = 1; t <= 3; ++t) {
      late.step(t + 1, gradient_at(t).data());
      plain.step(t, gradient_at(t).data());
    }
    EXPECT_NE(get_weight(plain.parameter(), plain.device()), begun);
    EXPECT_EQ(get_weight(late.parameter(), late.device()), get_weight(plain.parameter(), plain.device()))
        << static_cast<int>(rule);
  }
}

class WholeGradientRuns : public testing::TestWithParam<MomentRule> {};

RunOptions run_of(const TestFolder& folder, MomentRule rule) {
  RunOptions o = tiny_run(folder);
  o.data.validation.clear();
  o.steps = 6;
  o.global_batch = 12;
  o.micro_batch = 12;
  o.optimizer.galore.reset();
  o.model.overrides = {{"tie_word_embeddings", "false"}};
  o.optimizer.rule = rule;
  o.optimizer.learning_rate = 0.003;
  o.optimizer.projection = options_of(rule).projection;
  return o;
}

TEST_P(WholeGradientRuns, PassesRanksAndStagesChangeNothingButTheOrderOfSums) {
  TestFolder folder;
  const RunOptions o = run_of(folder, GetParam());
  auto losses = [&](int ranks, int zero, int64_t micro_batch, bool per_layer) {
    RunOptions run = o;
    run.micro_batch = micro_batch;
    run.optimizer.zero = zero;
    run.optimizer.per_layer = per_layer;
    run.checkpoint_folder = absl::StrCat(folder.path(), "/", ranks, zero, micro_batch, per_layer);
    const std::vector<RankOutcome> outcome = run_ranks(run, ranks, run.checkpoint_folder + "-out");
    for (const RankOutcome& rank : outcome) EXPECT_TRUE(rank.result.ok()) << rank.result.status();
    return outcome[0].observer.losses();
  };
  const std::vector<double> one = losses(1, 1, 12, false);
  EXPECT_LT(one.back(), one.front());
  const auto expect_close = [&](const std::vector<double>& found) {
    ASSERT_EQ(found.size(), one.size());
    // Bases and signs amplify the order of sums.
    for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(found[i], one[i], 1e-4 * one[i]) << i;
  };
  expect_close(losses(1, 1, 12, true));
  expect_close(losses(2, 1, 3, true));
  expect_close(losses(2, 2, 3, false));
  expect_close(losses(3, 3, 2, false));
  expect_close(losses(4, 3, 3, true));
}

TEST_P(WholeGradientRuns, AResumedRunHasTheSameLossesBitForBit) {
  TestFolder folder;
  RunOptions o = run_of(folder, GetParam());
  o.micro_batch = 3;
  o.schedule_steps = 6;
  o.checkpoint_folder = folder.path() + "/whole";
  const std::vector<RankOutcome> whole = run_ranks(o, 2, folder.path() + "/whole-out");
  ASSERT_TRUE(whole[0].result.ok()) << whole[0].result.status();
  o.checkpoint_folder = folder.path() + "/cut";
  o.steps = 4;
  o.checkpoint_every = 4;
  ASSERT_TRUE(run_ranks(o, 2, folder.path() + "/cut-out")[0].result.ok());
  o.steps = 6;
  const std::vector<RankOutcome> rest = run_ranks(o, 2, folder.path() + "/cut-out");
  ASSERT_TRUE(rest[0].result.ok()) << rest[0].result.status();
  const std::vector<double> all = whole[0].observer.losses();
  const std::vector<double> last = rest[0].observer.losses();
  ASSERT_EQ(last.size(), 2U);
  EXPECT_EQ(last[0], all[4]);
  EXPECT_EQ(last[1], all[5]);
}

INSTANTIATE_TEST_SUITE_P(All, WholeGradientRuns,
                         testing::Values(MomentRule::kScale, MomentRule::kApollo, MomentRule::kApolloMini,
                                         MomentRule::kFira));

TEST(Scale, IsRefusedWhereTheEmbeddingIsTheHead) {
  TestFolder folder;
  RunOptions o = run_of(folder, MomentRule::kScale);
  o.model.overrides = {{"tie_word_embeddings", "true"}};
  const absl::StatusOr<ResolvedJob> job = resolve_job(o);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(std::string(engine_shape(o, job->config, 1).status().message()),
              testing::HasSubstr("optimizer.rule: scale tells the embedding from the head"));
}

}  // namespace
}  // namespace galleon

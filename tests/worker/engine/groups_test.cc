// What groups of parameters have of their own: rates and decay; the schedule; the form of epsilon.
#include <cmath>

#include "tests/worker/engine/one_matrix.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/optim/schedule.h"

namespace galleon {
namespace {

std::vector<float> gradient_of(int64_t step, int64_t size) {
  std::vector<float> g(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) g[i] = std::sin(static_cast<float>(i * 7 + step * 3));
  return g;
}

// The weight after a few steps from a given one.
std::vector<float> trained(const OptimizerOptions& options, ParameterGroup group, int64_t out, int64_t in) {
  OneMatrix one(out, in, options, 1, group);
  set_weight(one.parameter(), one.device(), gradient_of(100, out * in).data());
  for (int64_t t = 1; t <= 4; ++t) one.step(t, gradient_of(t, out * in).data());
  return get_weight(one.parameter(), one.device());
}

OptimizerOptions plain() {
  OptimizerOptions o;
  o.learning_rate = 0.01;
  o.weight_decay = 0.1;
  o.schedule = {ScheduleType::kConstant, 0, 0.1, 10};
  return o;
}

struct Group {
  ParameterGroup group;
  int64_t in;  // 1: a vector
  GroupOptions OptimizerOptions::*own;
};

TEST(Groups, EachHasItsOwnRateAndDecayAndLeavesTheOthersAlone) {
  const Group groups[] = {{ParameterGroup::kEmbedding, 6, &OptimizerOptions::embeddings},
                          {ParameterGroup::kHead, 6, &OptimizerOptions::head},
                          {ParameterGroup::kClassifier, 6, &OptimizerOptions::head},
                          {ParameterGroup::kNorm, 1, &OptimizerOptions::norms},
                          {ParameterGroup::kBias, 1, &OptimizerOptions::biases},
                          {ParameterGroup::kClassifier, 1, &OptimizerOptions::biases}};
  OptimizerOptions faster = plain();
  faster.learning_rate *= 3;
  OptimizerOptions without_decay = plain();
  without_decay.weight_decay = 0;
  for (const Group& g : groups) {
    OptimizerOptions rate = plain();
    (rate.*g.own).rate = 3;
    EXPECT_EQ(trained(rate, g.group, 8, g.in), trained(faster, g.group, 8, g.in)) << static_cast<int>(g.group);
    EXPECT_NE(trained(rate, g.group, 8, g.in), trained(plain(), g.group, 8, g.in));
    OptimizerOptions exempt = plain();
    (exempt.*g.own).decays = false;
    EXPECT_EQ(trained(exempt, g.group, 8, g.in), trained(without_decay, g.group, 8, g.in));
    EXPECT_NE(trained(exempt, g.group, 8, g.in), trained(plain(), g.group, 8, g.in));
    // Matrices of blocks are in no group.
    EXPECT_EQ(trained(rate, ParameterGroup::kMlp, 8, 6), trained(plain(), ParameterGroup::kMlp, 8, 6));
    EXPECT_EQ(trained(exempt, ParameterGroup::kMlp, 8, 6), trained(plain(), ParameterGroup::kMlp, 8, 6));
  }
}

TEST(Groups, RatesThatDifferAreInTheLinesOfARun) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 4;
  EXPECT_TRUE(run_one(o, folder.path() + "/same").observer.lines.back().rates.empty());
  o.optimizer.embeddings.rate = 10;
  o.checkpoint_folder += "-other";
  const RankOutcome run = run_one(o, folder.path() + "/other");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  const StepLine& line = run.observer.lines.back();
  ASSERT_EQ(line.rates.size(), 3U);
  EXPECT_EQ(line.rates[0].first, "embedding");
  EXPECT_DOUBLE_EQ(line.rates[0].second, 10 * line.learning_rate);
  EXPECT_DOUBLE_EQ(line.rates[1].second, line.learning_rate);
}

TEST(Groups, AZLossIsTrainedOnAndNotTold) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 3;
  o.warmup_steps = 0;
  const std::vector<double> without = run_one(o, folder.path() + "/without").observer.losses();
  o.z_loss = 0.1;
  o.checkpoint_folder += "-z";
  const std::vector<double> with = run_one(o, folder.path() + "/with").observer.losses();
  ASSERT_EQ(with.size(), 3U);
  EXPECT_EQ(with[0], without[0]);
  EXPECT_NE(with[1], without[1]);
}

// Both forms by their formulas in double precision; Adam's ε so large that the two part.
TEST(EpsilonForms, AreTheFormulasOfGaLoresProgramAndOfTorch) {
  for (const MomentRule rule : {MomentRule::kAdamW, MomentRule::kAdam8bit}) {
    for (const EpsilonForm form : {EpsilonForm::kUncorrected, EpsilonForm::kCorrected}) {
      OptimizerOptions o = plain();
      o.rule = rule;  // a small matrix: its moments have 32 bits
      o.weight_decay = 0;
      o.epsilon = 0.1;
      o.epsilon_form = form;
      const std::vector<float> found = trained(o, ParameterGroup::kMlp, 8, 6);
      std::vector<double> w(48), m(48), v(48);
      for (int64_t i = 0; i < 48; ++i) w[i] = gradient_of(100, 48)[i];
      for (int64_t t = 1; t <= 4; ++t) {
        const double c1 = 1 - std::pow(0.9, t);
        const double c2 = 1 - std::pow(0.999, t);
        for (int64_t i = 0; i < 48; ++i) {
          const double g = gradient_of(t, 48)[i];
          m[i] = 0.9 * m[i] + 0.1 * g;
          v[i] = 0.999 * v[i] + 0.001 * g * g;
          w[i] -= form == EpsilonForm::kCorrected ? 0.01 * (m[i] / c1) / (std::sqrt(v[i] / c2) + 0.1)
                                                  : 0.01 * std::sqrt(c2) / c1 * m[i] / (std::sqrt(v[i]) + 0.1);
        }
      }
      for (int64_t i = 0; i < 48; ++i) EXPECT_NEAR(found[i], w[i], 1e-6) << i;
    }
  }
}

TEST(Schedule, WsdWarmsUpStaysAndDecays) {
  ScheduleOptions s{ScheduleType::kWsd, 4, 0.1, 20, 5, ScheduleDecay::kLinear};
  EXPECT_EQ(schedule_multiplier(s, 1), 0.0);
  EXPECT_EQ(schedule_multiplier(s, 3), 0.5);
  for (int64_t step = 5; step <= 16; ++step) EXPECT_EQ(schedule_multiplier(s, step), 1.0) << step;
  EXPECT_NEAR(schedule_multiplier(s, 17), 0.1 + 0.9 * 0.8, 1e-12);
  EXPECT_NEAR(schedule_multiplier(s, 20), 0.1 + 0.9 * 0.2, 1e-12);
  EXPECT_NEAR(schedule_multiplier(s, 30), 0.1, 1e-12);
  s.decay = ScheduleDecay::kSqrt;
  EXPECT_EQ(schedule_multiplier(s, 16), 1.0);
  EXPECT_NEAR(schedule_multiplier(s, 17), 0.1 + 0.9 * (1 - std::sqrt(0.2)), 1e-12);
}

TEST(Schedule, ARunOfWsdIsMadeLongerFromACheckpointBeforeItsDecayAndFromNoOther) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.data.validation.clear();
  o.optimizer.schedule.type = ScheduleType::kWsd;
  o.optimizer.schedule.min_ratio = 0;
  o.checkpoint_every = 1;
  o.steps = 8;
  o.decay_steps = 3;
  ASSERT_TRUE(run_one(o, folder.path() + "/short").result.ok());
  RunOptions longer = o;
  longer.steps = 12;
  longer.checkpoint_folder += "-longer";
  const RankOutcome whole = run_one(longer, folder.path() + "/longer");
  ASSERT_TRUE(whole.result.ok()) << whole.result.status();
  longer.checkpoint_folder = o.checkpoint_folder;
  absl::Status refused = run_one(longer, folder.path() + "/refused").result.status();
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("is at step 8 of a schedule of 8 steps"));
  // Seven steps have had the rates of both; the sixth is the first of the decay that is no longer at its top.
  for (const int64_t step : {7, 8}) std::filesystem::remove_all(o.checkpoint_folder + "/" + step_folder_name(step));
  const RankOutcome rest = run_one(longer, folder.path() + "/rest");
  ASSERT_TRUE(rest.result.ok()) << rest.result.status();
  const std::vector<double> expected = whole.observer.losses();
  EXPECT_EQ(rest.observer.losses(), std::vector<double>(expected.begin() + 6, expected.end()));
}

}  // namespace
}  // namespace galleon

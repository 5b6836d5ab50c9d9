// The plan counts an interval's refreshes, however many steps lie between them.
#include <gtest/gtest.h>

#include <chrono>
#include <limits>

#include "worker/engine/run/training.h"

namespace galleon {
namespace {

constexpr int kRanks = 2;
constexpr int64_t kLayers = 2;
constexpr int64_t kLongest = std::numeric_limits<uint32_t>::max();  // of the job file

RankEstimate planned(int64_t interval, bool stagger, MomentRule rule = MomentRule::kAdamW) {
  RunOptions options;
  options.micro_batch = 1;
  options.global_batch = 2 * kRanks;
  options.data.sequence_length = 8;
  options.optimizer.rule = rule;
  options.optimizer.projection.rank = 4;
  options.optimizer.projection.refresh_interval = interval;
  options.optimizer.galore.emplace();
  options.optimizer.galore->rank = 4;
  options.optimizer.galore->refresh_interval = interval;
  options.optimizer.galore->stagger = stagger;
  if (rule == MomentRule::kFira) options.optimizer.galore.reset();
  ModelConfig config;
  config.vocabulary = 64;
  config.hidden = 16;
  config.intermediate = 32;
  config.layers = kLayers;
  config.heads = 2;
  config.key_value_heads = 2;
  config.head_dimension = 8;
  const absl::StatusOr<EngineShape> shape = engine_shape(options, config, kRanks);
  GALLEON_CHECK(shape.ok()) << shape.status().ToString();
  absl::StatusOr<RankEstimate> plan = dry_run(*shape, "cpu", 0, kRanks);
  GALLEON_CHECK(plan.ok()) << plan.status().ToString();
  return *std::move(plan);
}

TEST(RefreshSteps, TheLongestIntervalIsPlannedAtOnce) {
  for (const bool stagger : {false, true}) {
    const auto begun = std::chrono::steady_clock::now();
    const RankEstimate plan = planned(kLongest, stagger);
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60)) << "counted step by step";
    EXPECT_EQ(plan.interval, kLongest);
    EXPECT_EQ(plan.refreshing, stagger ? 7 * kLayers : 1) << "seven matrices in a layer";
    EXPECT_EQ(plan.sent_mean(), plan.sent_step) << "refreshes are too rare to be seen in whole bytes";
  }
}

TEST(RefreshSteps, ARulesOwnSearchesAreCountedToo) {
  for (const int64_t interval : {int64_t{1}, int64_t{5}, kLongest}) {
    const RankEstimate plan = planned(interval, false, MomentRule::kFira);
    EXPECT_EQ(plan.interval, interval);
    EXPECT_EQ(plan.refreshing, 1) << "all matrices in one step";
    EXPECT_GT(plan.sent_refreshes.of(Content::kSubspace), 0);
    EXPECT_EQ(plan.sent_step.of(Content::kSubspace) > 0, interval == 1);
  }
}

TEST(RefreshSteps, TheMeanIsThatOfAllSteps) {
  for (const int64_t interval : {1, 3, 7, 100}) {
    for (const bool stagger : {false, true}) {
      const RankEstimate plan = planned(interval, stagger);
      SentBytes all = plan.sent_refreshes;
      for (int64_t i = plan.refreshing; i < interval; ++i) all += plan.sent_step;
      EXPECT_NEAR(static_cast<double>(plan.sent_mean().total()),
                  static_cast<double>(all.total()) / static_cast<double>(interval), 10)
          << interval << (stagger ? ", staggered" : "");
      EXPECT_EQ(plan.refreshing, stagger ? std::min<int64_t>(interval, 7 * kLayers) : 1) << interval;
    }
  }
}

}  // namespace
}  // namespace galleon

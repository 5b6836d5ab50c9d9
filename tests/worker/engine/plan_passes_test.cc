// The plan of a step of many passes goes through a few of them, and is that of all.
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "worker/engine/run/training.h"

namespace galleon {
namespace {

constexpr int kRanks = 2;

EngineShape shape_of(int64_t passes, MomentRule rule, bool galore, bool per_layer, int zero) {
  RunOptions options;
  options.micro_batch = 1;
  options.global_batch = passes * kRanks;
  options.data.sequence_length = 8;
  options.optimizer.rule = rule;
  options.optimizer.per_layer = per_layer;
  options.optimizer.zero = zero;
  options.optimizer.projection.rank = 4;
  options.optimizer.projection.refresh_interval = 3;
  if (galore) {
    options.optimizer.galore.emplace();
    options.optimizer.galore->rank = 4;
    options.optimizer.galore->refresh_interval = 3;
  }
  ModelConfig config;
  config.vocabulary = 64;
  config.hidden = 16;
  config.intermediate = 32;
  config.layers = 2;
  config.heads = 2;
  config.key_value_heads = 2;
  config.head_dimension = 8;
  const absl::StatusOr<EngineShape> shape = engine_shape(options, config, kRanks);
  GALLEON_CHECK(shape.ok()) << shape.status().ToString();
  return *shape;
}

void expect_as_walked(const EngineShape& shape) {
  const WorkClock clock = [](const Work& work) { return work.flops + work.bytes; };
  const absl::StatusOr<RankEstimate> plan = dry_run(shape, "cpu", 0, kRanks, clock);
  const absl::StatusOr<RankEstimate> walked = dry_run(shape, "cpu", 0, kRanks, clock, shape.micro_batches);
  ASSERT_TRUE(plan.ok() && walked.ok()) << plan.status() << walked.status();
  EXPECT_EQ(plan->sent_step, walked->sent_step);
  EXPECT_EQ(plan->sent_refreshes, walked->sent_refreshes);
  EXPECT_EQ(plan->refreshing, walked->refreshing);
  EXPECT_DOUBLE_EQ(plan->step_flops, walked->step_flops);
  for (int kind = 0; kind < kWorkKinds; ++kind) {
    EXPECT_DOUBLE_EQ(plan->step_seconds[kind], walked->step_seconds[kind]) << kind;
    EXPECT_DOUBLE_EQ(plan->interval_seconds[kind], walked->interval_seconds[kind]) << kind;
  }
  for (int i = 0; i < kMemoryCategories; ++i) EXPECT_EQ(plan->by_category[i], walked->by_category[i]) << i;
  EXPECT_EQ(plan->peak_bytes, walked->peak_bytes);
  EXPECT_EQ(plan->workspace_bytes, walked->workspace_bytes);
}

TEST(PlanPasses, ManyAreCountedAsIfEachWereWalked) {
  const std::vector<std::pair<MomentRule, bool>> arms = {
      {MomentRule::kAdamW, true}, {MomentRule::kAdamW, false}, {MomentRule::kMuon, true},    {MomentRule::kMuon, false},
      {MomentRule::kFira, false}, {MomentRule::kScale, false}, {MomentRule::kApollo, false},
  };
  for (const auto& [rule, galore] : arms) {
    for (const bool per_layer : {false, true}) {
      for (const int zero : {1, 2, 3}) {
        for (const int64_t passes : {9, 21}) {
          SCOPED_TRACE(std::to_string(static_cast<int>(rule)) + (galore ? " in subspaces" : "") +
                       (per_layer ? " per layer" : "") + ", zero " + std::to_string(zero) + ", " +
                       std::to_string(passes));
          expect_as_walked(shape_of(passes, rule, galore, per_layer, zero));
        }
      }
    }
  }
}

TEST(PlanPasses, AMillionArePlannedAtOnce) {
  const auto begun = std::chrono::steady_clock::now();
  const absl::StatusOr<RankEstimate> plan =
      dry_run(shape_of(1 << 20, MomentRule::kAdamW, true, false, 2), "cpu", 0, kRanks);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60)) << "counted pass by pass";
}

}  // namespace
}  // namespace galleon

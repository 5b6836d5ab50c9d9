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

// Each pass of an engine that counts, in the first step and in one of each kind after it.
void expect_as_walked(const EngineShape& shape) {
  const absl::StatusOr<RankEstimate> plan = dry_run(shape, "cpu", 0, kRanks);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::unique_ptr<Device> device = make_planning_device("cpu");
  const std::unique_ptr<Communicator> communicator = make_planning_communicator(*device, 0, kRanks);
  const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::create(shape, *device, *communicator);
  ASSERT_TRUE(engine.ok()) << engine.status();
  Batch batch;
  batch.sequences = shape.micro_batch;
  batch.length = shape.sequence_length;
  const std::vector<Batch> passes(static_cast<size_t>(shape.micro_batches), batch);
  (*engine)->step(1, passes, 1.0F);
  const std::vector<int64_t> refreshes = (*engine)->optimizer().refreshes(2);
  SentBytes interval, quiet;
  double flops = 0;
  for (int64_t step = 2; step < 2 + plan->interval; ++step) {
    const bool refreshed = std::find(refreshes.begin(), refreshes.end(), step) != refreshes.end();
    const SentBytes before = communicator->sent();
    device->work() = {};
    (*engine)->step(step, passes, 1.0F);
    (refreshed ? interval : quiet) = communicator->sent() - before;
    if (!refreshed) flops = device->work().flops;
  }
  if (plan->refreshing < plan->interval) {
    EXPECT_EQ(plan->sent_step, quiet);
    EXPECT_DOUBLE_EQ(plan->step_flops, flops);
  }
  if (plan->refreshing == 1) {
    EXPECT_EQ(plan->sent_refreshes, interval);
  }
  // The workspace is bounded to what the plan says.
  EXPECT_LE(device->workspace_peak(), plan->workspace_bytes);
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

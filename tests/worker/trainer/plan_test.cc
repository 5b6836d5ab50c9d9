// What a plan says beside the job itself: other ways, and what would make it fit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "worker/engine/run/training.h"
#include "worker/trainer/memory_messages.h"

namespace galleon {
namespace {

EngineShape shape_of(int64_t vocabulary, int ranks) {
  RunOptions o;
  o.model.source = "preset:llama-60m";
  o.model.overrides = {{"vocab_size", absl::StrCat(vocabulary)}};
  o.data.sequence_length = 64;
  o.global_batch = 16;
  o.micro_batch = 4;
  o.optimizer.galore = GaloreOptions{};
  o.optimizer.galore->rank = 64;
  return *engine_shape(o, resolve_job(o)->config, ranks);
}

uint64_t sent(const v1::WireBytes& wire) {
  return wire.reduce_scatter() + wire.all_gather() + wire.all_reduce() + wire.reduce() + wire.broadcast();
}

TEST(Plan, BytesByOperationAreThoseByWhatTheyCarryForEveryRank) {
  const absl::StatusOr<v1::MemoryPlan> plan = plan_message(shape_of(4096, 4), "cpu", 4, 0, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->ranks_size(), 4);
  for (const v1::RankPlan& rank : plan->ranks()) {
    for (const v1::WireBytes* wire : {&rank.wire_step(), &rank.wire_mean()}) {
      EXPECT_GT(sent(*wire), 0U);
      // The mean is rounded for each pair of both.
      EXPECT_NEAR(static_cast<double>(sent(*wire)),
                  static_cast<double>(wire->projected_gradient() + wire->update() + wire->dense_gradient() +
                                      wire->projected_dense() + wire->weight() + wire->statistic() + wire->subspace()),
                  40);
      EXPECT_EQ(wire->projected_dense(), 0U);
    }
    EXPECT_GE(sent(rank.wire_mean()), sent(rank.wire_step())) << "refreshes cost something";
  }
}

TEST(Plan, APredictionHasItsCardItsSourceAndItsSum) {
  const absl::StatusOr<v1::StepPrediction> p = prediction_message(shape_of(4096, 2), "4090", 2);
  ASSERT_TRUE(p.ok()) << p.status();
  EXPECT_EQ(p->card(), "4090");
  EXPECT_FALSE(p->source().empty());
  EXPECT_DOUBLE_EQ(p->step(),
                   p->products() + p->attention() + p->memory_bound() + p->optimizer() + p->refresh() + p->wire());
  EXPECT_NEAR(p->tokens_per_second(), 16 * 64 / p->step(), 1e-6 * p->tokens_per_second());
  EXPECT_EQ(prediction_message(shape_of(4096, 2), "none", 2).status().code(), absl::StatusCode::kNotFound);
}

// The flow of a gradient (docs/design/gradients-and-optimizer.md), written down a second time: rows of R are scattered,
// rows of N gathered; a rank sends each other one its share of the one, and all its own of the other.
TEST(Plan, BytesOfAStepAreThoseOfTheFormula) {
  const int ranks = 4;
  const EngineShape shape = shape_of(4096, ranks);
  const int64_t hidden = 512;
  const int64_t intermediate = 1376;
  const int64_t layers = 8;
  const int64_t rank = 64;
  // Compact numbers: of square matrices 512 rows, of MLP matrices 1376; embedding and head whole.
  const int64_t projected = layers * (4 * hidden * rank + 3 * intermediate * rank);
  const int64_t full = 2 * 4096 * hidden + (2 * layers + 1) * hidden;
  const absl::StatusOr<v1::MemoryPlan> plan = plan_message(shape, "cpu", ranks, 0, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const v1::WireBytes& wire = plan->wire_step();
  const uint64_t share = 4ULL * (ranks - 1) / ranks;  // 4 bytes times the part that is other ranks', times 4 / 4
  EXPECT_EQ(share, 3ULL);
  EXPECT_EQ(wire.projected_gradient(), share * projected);
  EXPECT_EQ(wire.dense_gradient(), share * full);
  EXPECT_EQ(wire.update(), share * (projected + full));
  EXPECT_EQ(wire.all_gather(), wire.update());
}

TEST(Plan, ComparesWithDenseDataParallelismAndEveryStageOfZeroWithAdamW) {
  const absl::StatusOr<v1::MemoryPlan> plan = plan_message(shape_of(4096, 4), "cpu", 4, 0, 0);
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->other_ways_size(), 4);
  const v1::OtherWay& dense = plan->other_ways(0);
  EXPECT_EQ(dense.name(), "AdamW, dense data parallelism");
  // Two fp32 moments of every number; a ring sends 2·(N−1)/N of all gradients.
  EXPECT_NEAR(static_cast<double>(dense.memory().optimizer_states()), 8.0 * static_cast<double>(plan->parameters()),
              0.001 * 8.0 * static_cast<double>(plan->parameters()));
  EXPECT_EQ(sent(dense.wire_step()), plan->parameters() * 4 * 2 * 3 / 4);
  for (int stage = 1; stage <= 3; ++stage) {
    const v1::OtherWay& way = plan->other_ways(stage);
    EXPECT_EQ(way.name(), absl::StrCat("AdamW, ZeRO ", stage));
    EXPECT_NEAR(static_cast<double>(way.memory().optimizer_states()),
                static_cast<double>(dense.memory().optimizer_states()) / 4,
                0.03 * static_cast<double>(dense.memory().optimizer_states()) / 4);
  }
  EXPECT_LT(plan->other_ways(3).memory().weights(), plan->other_ways(2).memory().weights());
  EXPECT_LT(sent(plan->wire_mean()), sent(dense.wire_step()) / 2);
}

TEST(Plan, WhereMastersInFp32DoNotFitThoseOf24BitsAreToldWithTheirBytes) {
  EngineShape shape = shape_of(4096, 1);
  shape.weights = {DataType::kBFloat16, MasterWeights::kFp32};
  const absl::StatusOr<v1::MemoryPlan> plan = plan_message(shape, "cpu", 1, 0, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const absl::StatusOr<v1::MemoryPlan> tight =
      plan_message(shape, "cpu", 1, 0, static_cast<int64_t>(plan->required_bytes()) - 1);
  ASSERT_TRUE(tight.ok()) << tight.status();
  shape.weights.master = MasterWeights::kFp24;
  const absl::StatusOr<v1::MemoryPlan> smaller = plan_message(shape, "cpu", 1, 0, 0);
  ASSERT_TRUE(smaller.ok()) << smaller.status();
  EXPECT_EQ(plan->required_bytes() - smaller->required_bytes(), 3 * plan->parameters());
  uint64_t told = 0;
  for (const v1::FittingChange& change : tight->fitting_changes()) {
    if (change.keys(0) == "training.master_weights: fp24") told = change.bytes();
  }
  EXPECT_EQ(told, smaller->required_bytes());
}

TEST(Plan, WhatDoesNotFitIsToldWithChangesThatTheSamePlanThenConfirms) {
  const EngineShape shape = shape_of(4096, 2);
  const absl::StatusOr<v1::MemoryPlan> plan = plan_message(shape, "cpu", 2, 0, 0);
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->fitting_changes().empty());
  const auto needed = static_cast<int64_t>(plan->required_bytes());
  const absl::StatusOr<v1::MemoryPlan> tight = plan_message(shape, "cpu", 2, 0, needed - 1);
  ASSERT_TRUE(tight.ok());
  EXPECT_EQ(tight->available_bytes() + 1, tight->required_bytes());
  ASSERT_GT(tight->fitting_changes_size(), 1);
  bool recompute = false;
  for (const v1::FittingChange& change : tight->fitting_changes()) {
    EXPECT_EQ(change.keys_size(), 1);
    EXPECT_LT(change.bytes(), tight->required_bytes());
    recompute |= change.keys(0) == "training.recompute: block";
  }
  EXPECT_TRUE(recompute);
  EngineShape changed = shape;
  changed.recompute = true;
  const absl::StatusOr<v1::MemoryPlan> after = plan_message(changed, "cpu", 2, 0, 0);
  for (const v1::FittingChange& change : tight->fitting_changes()) {
    if (change.keys(0) == "training.recompute: block") {
      EXPECT_EQ(change.bytes(), after->required_bytes());
    }
  }
  // Where blocks are computed again already, half of their inputs may be.
  const absl::StatusOr<v1::MemoryPlan> again =
      plan_message(changed, "cpu", 2, 0, static_cast<int64_t>(after->required_bytes()) - 1);
  ASSERT_TRUE(again.ok());
  bool inputs = false;
  for (const v1::FittingChange& change : again->fitting_changes())
    inputs |= change.keys(0) == "training.kept_inputs: 4";
  EXPECT_TRUE(inputs);
  // A byte less than the best single key needs: several together are enough; and nothing makes it fit into nothing.
  uint64_t least = tight->required_bytes();
  for (const v1::FittingChange& change : tight->fitting_changes()) least = std::min(least, change.bytes());
  const absl::StatusOr<v1::MemoryPlan> less = plan_message(shape, "cpu", 2, 0, static_cast<int64_t>(least) - 1);
  ASSERT_TRUE(less.ok());
  ASSERT_EQ(less->fitting_changes_size(), 1);
  EXPECT_GT(less->fitting_changes(0).keys_size(), 1);
  EXPECT_LE(less->fitting_changes(0).bytes(), less->available_bytes());
  EXPECT_TRUE(plan_message(shape, "cpu", 2, 0, 1 << 20)->fitting_changes().empty());
}

}  // namespace
}  // namespace galleon

// Recomputation of blocks: the same numbers from less memory.
#include "tests/worker/engine/run_support.h"

namespace galleon {
namespace {

RunOptions six_blocks(const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.model.overrides = {{"num_hidden_layers", "6"}};
  o.evaluate_every = 6;
  return o;
}

std::string weights_of(const RunOptions& options) {
  absl::StatusOr<std::string> content = read_file(options.checkpoint_folder + "/step-00000012/model.safetensors");
  EXPECT_TRUE(content.ok()) << content.status();
  return content.ok() ? *content : "";
}

TEST(Recompute, LossesAndWeightsAreThoseOfARunThatKeepsEverythingBitForBit) {
  TestFolder folder;
  for (const int ranks : {1, 2}) {
    RunOptions kept = six_blocks(folder);
    // One rank updates a block while the backward goes on to those before it, two gather every block's weights.
    kept.optimizer.per_layer = ranks == 1;
    kept.optimizer.zero = ranks == 2 ? 3 : 1;
    kept.checkpoint_folder = absl::StrCat(folder.path(), "/kept", ranks);
    const std::vector<RankOutcome> a = run_ranks(kept, ranks, absl::StrCat(folder.path(), "/a", ranks));
    ASSERT_TRUE(a[0].result.ok()) << a[0].result.status();
    for (const int64_t inputs : {0, 2, 5}) {
      RunOptions again = kept;
      again.recompute = true;
      again.kept_inputs = inputs;
      again.checkpoint_folder = absl::StrCat(folder.path(), "/again", ranks, inputs);
      const std::vector<RankOutcome> b = run_ranks(again, ranks, absl::StrCat(folder.path(), "/b", ranks, inputs));
      ASSERT_TRUE(b[0].result.ok()) << b[0].result.status();
      EXPECT_EQ(a[0].observer.losses(), b[0].observer.losses()) << inputs;
      EXPECT_EQ(a[0].observer.evaluations.back().validation_loss, b[0].observer.evaluations.back().validation_loss);
      EXPECT_TRUE(weights_of(kept) == weights_of(again)) << inputs;
    }
  }
}

TEST(Recompute, ARunGoesOnBitForBitWhenItIsSwitchedOnAtAResume) {
  TestFolder folder;
  RunOptions o = six_blocks(folder);
  const RankOutcome whole = run_one(o, folder.path() + "/whole");
  ASSERT_TRUE(whole.result.ok()) << whole.result.status();
  o.checkpoint_folder += "-cut";
  ASSERT_TRUE(run_one(o, folder.path() + "/cut", [](int, RecordingObserver& observer, RunContext&) {
                observer.stop_after = 5;
              }).result.ok());
  o.recompute = true;
  o.kept_inputs = 3;
  const RankOutcome rest = run_one(o, folder.path() + "/cut");
  ASSERT_TRUE(rest.result.ok()) << rest.result.status();
  const std::vector<double> expected = whole.observer.losses();
  EXPECT_EQ(rest.observer.losses(), std::vector<double>(expected.begin() + 5, expected.end()));
}

TEST(Recompute, ThePlanShowsWhatItSavesAndTheRunHoldsToIt) {
  TestFolder folder;
  RunOptions o = six_blocks(folder);
  o.steps = 2;
  constexpr auto kActivations = static_cast<int>(MemoryCategory::kActivations);
  std::vector<int64_t> activations;
  for (const int64_t inputs : {0, 6, 4, 2}) {
    o.recompute = inputs > 0;
    o.kept_inputs = inputs;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/c", inputs);
    const RankOutcome run = run_one(o, folder.path() + "/out");
    ASSERT_TRUE(run.result.ok()) << run.result.status();
    absl::StatusOr<ResolvedJob> job = resolve_job(o);
    absl::StatusOr<EngineShape> shape = engine_shape(o, job->config, 1);
    absl::StatusOr<RankEstimate> plan = dry_run(*shape, "cpu", 0, 1);
    ASSERT_TRUE(plan.ok());
    for (int i = 0; i < kMemoryCategories; ++i) EXPECT_EQ(plan->by_category[i], run.observer.ledger[i]) << i;
    EXPECT_EQ(plan->peak_bytes, run.observer.ledger_peak);
    activations.push_back(plan->by_category[kActivations]);
  }
  const int64_t tokens = 4 * 32;
  // Of five blocks everything but the input and its norms: q, k, v, attended, middle (5·64), gates and ups (2·172), row
  // sums of 4 heads and one inverse root mean square, for 4·32 tokens; and the first block's input, which is embedded
  // again.
  EXPECT_EQ(activations[0] - activations[1], tokens * (5 * (5 * 64 + 2 * 172 + 4 + 1) + 64) * 4);
  // Four inputs are kept and one computed again at a time, two and two.
  EXPECT_EQ(activations[1] - activations[2], 1 * tokens * 64 * 4);
  EXPECT_EQ(activations[1] - activations[3], 2 * tokens * 64 * 4);
}

TEST(Recompute, MoreInputsThanBlocksAreRefusedByName) {
  TestFolder folder;
  RunOptions o = six_blocks(folder);
  o.recompute = true;
  o.kept_inputs = 7;
  EXPECT_EQ(engine_shape(o, resolve_job(o)->config, 1).status().message(),
            "training.kept_inputs 7 is more than the 6 blocks of the model");
}

}  // namespace
}  // namespace galleon

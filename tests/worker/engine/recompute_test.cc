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
    kept.checkpoint_folder = absl::StrCat(folder.path(), "/kept", ranks);
    const std::vector<RankOutcome> a = run_ranks(kept, ranks, absl::StrCat(folder.path(), "/a", ranks));
    ASSERT_TRUE(a[0].result.ok()) << a[0].result.status();
    RunOptions again = kept;
    again.recompute = true;
    again.checkpoint_folder = absl::StrCat(folder.path(), "/again", ranks);
    const std::vector<RankOutcome> b = run_ranks(again, ranks, absl::StrCat(folder.path(), "/b", ranks));
    ASSERT_TRUE(b[0].result.ok()) << b[0].result.status();
    EXPECT_EQ(a[0].observer.losses(), b[0].observer.losses());
    EXPECT_EQ(a[0].observer.evaluations.back().validation_loss, b[0].observer.evaluations.back().validation_loss);
    EXPECT_TRUE(weights_of(kept) == weights_of(again));
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
  int64_t activations[2];
  for (const bool recompute : {false, true}) {
    o.recompute = recompute;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/c", recompute);
    const RankOutcome run = run_one(o, folder.path() + "/out");
    ASSERT_TRUE(run.result.ok()) << run.result.status();
    absl::StatusOr<ResolvedJob> job = resolve_job(o);
    absl::StatusOr<EngineShape> shape = engine_shape(o, job->config, 1);
    absl::StatusOr<RankEstimate> plan = dry_run(*shape, "cpu", 0, 1);
    ASSERT_TRUE(plan.ok());
    for (int i = 0; i < kMemoryCategories; ++i) EXPECT_EQ(plan->by_category[i], run.observer.ledger[i]) << i;
    EXPECT_EQ(plan->peak_bytes, run.observer.ledger_peak);
    activations[recompute ? 1 : 0] = plan->by_category[kActivations];
  }
  // Of five blocks everything but the input and its norms: q, k, v, attended, middle (5·64), gates and ups (2·172), row
  // sums of 4 heads and one inverse root mean square, for 4·32 tokens.
  EXPECT_EQ(activations[0] - activations[1], int64_t{5} * 4 * 32 * (5 * 64 + 2 * 172 + 4 + 1) * 4);
}

}  // namespace
}  // namespace galleon

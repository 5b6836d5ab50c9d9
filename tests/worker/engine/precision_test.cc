// Training in bf16: what it computes, what it holds, what its checkpoints say.
#include <nlohmann/json.hpp>

#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/checkpoint/safetensors.h"

namespace galleon {
namespace {

struct Storage {
  const char* name;
  WeightStorage weights;
};

class Precision : public testing::TestWithParam<Storage> {
 protected:
  RunOptions options(const TestFolder& folder) const {
    RunOptions o = tiny_run(folder);
    o.weights = GetParam().weights;
    return o;
  }
};

int64_t bytes_of_category(const RankOutcome& run, MemoryCategory category) {
  return run.observer.ledger[static_cast<int>(category)];
}

TEST_P(Precision, LearnsWhatFp32Learns) {
  TestFolder folder;
  RunOptions o = options(folder);
  o.steps = 80;
  o.evaluate_every = 80;
  const RankOutcome rounded = run_one(o, folder.path() + "/bf16");
  ASSERT_TRUE(rounded.result.ok()) << rounded.result.status();
  o.weights = {};
  o.checkpoint_folder += "-fp32";
  const RankOutcome exact = run_one(o, folder.path() + "/fp32");
  ASSERT_TRUE(exact.result.ok()) << exact.result.status();
  // One batch of a model that has never been updated: activations alone are rounded, 8 bits each.
  EXPECT_NEAR(rounded.observer.lines[0].loss, exact.observer.lines[0].loss, 2e-3 * exact.observer.lines[0].loss);
  // After 80 steps paths have parted; a seed moves this loss by about 2 %.
  const double loss = exact.observer.evaluations.back().validation_loss;
  EXPECT_NEAR(rounded.observer.evaluations.back().validation_loss, loss, 0.03 * loss);
  EXPECT_LT(rounded.observer.evaluations.back().validation_loss, 0.6 * exact.observer.lines[0].loss);
}

TEST_P(Precision, ResumeIsBitForBit) {
  for (const int ranks : {1, 2}) {
    TestFolder folder;
    RunOptions o = options(folder);
    o.steps = 24;
    const std::vector<RankOutcome> whole = run_ranks(o, ranks, folder.path() + "/whole");
    ASSERT_TRUE(whole[0].result.ok()) << whole[0].result.status();
    o.checkpoint_folder += "-cut";
    const std::vector<RankOutcome> first =
        run_ranks(o, ranks, folder.path() + "/cut",
                  [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 11; });
    ASSERT_TRUE(first[0].result.ok()) << first[0].result.status();
    ASSERT_EQ(first[0].result->step, 11);
    const std::vector<RankOutcome> rest = run_ranks(o, ranks, folder.path() + "/cut");
    ASSERT_TRUE(rest[0].result.ok()) << rest[0].result.status();
    std::vector<double> losses = first[0].observer.losses();
    const std::vector<double> more = rest[0].observer.losses();
    losses.insert(losses.end(), more.begin(), more.end());
    EXPECT_EQ(losses, whole[0].observer.losses()) << ranks << " ranks";
  }
}

TEST_P(Precision, TwoRanksComputeWhatOneDoesWithinTheRoundingOfActivations) {
  TestFolder folder;
  RunOptions o = options(folder);
  const RankOutcome one = run_one(o, folder.path() + "/one");
  ASSERT_TRUE(one.result.ok()) << one.result.status();
  o.checkpoint_folder += "-two";
  const std::vector<RankOutcome> two = run_ranks(o, 2, folder.path() + "/two");
  ASSERT_TRUE(two[0].result.ok()) << two[0].result.status();
  const std::vector<double> expected = one.observer.losses();
  const std::vector<double> actual = two[0].observer.losses();
  ASSERT_EQ(actual.size(), expected.size());
  // A sum in another order may round an activation to its other neighbour, 2^-8 away, now and then.
  for (size_t i = 0; i < actual.size(); ++i)
    EXPECT_NEAR(actual[i], expected[i], 4e-3 * expected[i]) << "step " << i + 1;
}

TEST_P(Precision, BFloat16OnTheWireHalvesTheBytes) {
  TestFolder folder;
  RunOptions o = options(folder);
  o.steps = 3;
  o.optimizer.galore->refresh_interval = 100;
  const std::vector<RankOutcome> wide = run_ranks(o, 2, folder.path() + "/fp32");
  ASSERT_TRUE(wide[0].result.ok()) << wide[0].result.status();
  o.optimizer.wire_type = DataType::kBFloat16;
  o.checkpoint_folder += "-bf16";
  const std::vector<RankOutcome> narrow = run_ranks(o, 2, folder.path() + "/bf16");
  ASSERT_TRUE(narrow[0].result.ok()) << narrow[0].result.status();
  const SentBytes a = wide[0].observer.lines.back().sent;
  const SentBytes b = narrow[0].observer.lines.back().sent;
  EXPECT_EQ(2 * b.of(Collective::kReduceScatter), a.of(Collective::kReduceScatter));
  EXPECT_EQ(2 * b.of(Collective::kAllGather), a.of(Collective::kAllGather));
  // Gradients and updates are rounded to 8 bits, which hardly shows after two updates.
  EXPECT_NEAR(narrow[0].observer.lines.back().loss, wide[0].observer.lines.back().loss, 0.02);
}

TEST_P(Precision, AccumulatorsInBFloat16TakeHalfAndLearnTheSame) {
  TestFolder folder;
  RunOptions o = options(folder);
  o.steps = 40;
  o.micro_batch = 2;
  o.checkpoint_every = 20;
  const RankOutcome wide = run_one(o, folder.path() + "/fp32");
  ASSERT_TRUE(wide.result.ok()) << wide.result.status();
  o.optimizer.accumulate_type = DataType::kBFloat16;
  o.checkpoint_folder += "-bf16";
  for (const int ranks : {1, 2}) {
    o.micro_batch = 2 / ranks;
    std::filesystem::remove_all(o.checkpoint_folder);
    const std::vector<RankOutcome> narrow = run_ranks(o, ranks, absl::StrCat(folder.path(), "/bf16-", ranks));
    ASSERT_TRUE(narrow[0].result.ok()) << narrow[0].result.status();
    EXPECT_LT(narrow[0].observer.lines.back().loss, 1.05 * wide.observer.lines.back().loss) << ranks;
    if (ranks == 2) continue;
    // The embedding, tied to the head, is not a sum of products alone and stays in fp32, and so do dense gradients of
    // refreshes.
    EXPECT_LT(bytes_of_category(narrow[0], MemoryCategory::kGradients),
              bytes_of_category(wide, MemoryCategory::kGradients));
    absl::StatusOr<ResolvedJob> job = resolve_job(o);
    absl::StatusOr<RankEstimate> plan = dry_run(*engine_shape(o, job->config, 1), "cpu", 0, 1);
    ASSERT_TRUE(plan.ok());
    for (int i = 0; i < kMemoryCategories; ++i) EXPECT_EQ(plan->by_category[i], narrow[0].observer.ledger[i]) << i;
  }
}

TEST_P(Precision, ThePlanIsTheLedgerAndWeightsTakeTwoBytes) {
  TestFolder folder;
  RunOptions o = options(folder);
  o.steps = 2;
  const RankOutcome run = run_one(o, folder.path() + "/out");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  absl::StatusOr<ResolvedJob> job = resolve_job(o);
  ASSERT_TRUE(job.ok());
  absl::StatusOr<RankEstimate> plan = dry_run(*engine_shape(o, job->config, 1), "cpu", 0, 1);
  ASSERT_TRUE(plan.ok()) << plan.status();
  for (int i = 0; i < kMemoryCategories; ++i) EXPECT_EQ(plan->by_category[i], run.observer.ledger[i]) << i;
  EXPECT_EQ(plan->peak_bytes, run.observer.ledger_peak);

  RunOptions fp32 = o;
  fp32.weights = {};
  fp32.checkpoint_folder += "-fp32";
  const RankOutcome exact = run_one(fp32, folder.path() + "/fp32");
  const double weights = static_cast<double>(bytes_of_category(run, MemoryCategory::kWeights)) /
                         static_cast<double>(bytes_of_category(exact, MemoryCategory::kWeights));
  const MasterWeights master = GetParam().weights.master;
  const double expected = master == MasterWeights::kFp32 ? 1.5 : master == MasterWeights::kFp24 ? 0.75 : 0.5;
  EXPECT_NEAR(weights, expected, 0.01);
  EXPECT_LT(bytes_of_category(run, MemoryCategory::kActivations),
            0.75 * static_cast<double>(bytes_of_category(exact, MemoryCategory::kActivations)));
}

TEST_P(Precision, ACheckpointIsInBFloat16AndSaysSo) {
  TestFolder folder;
  RunOptions o = options(folder);
  o.steps = 3;
  const RankOutcome run = run_one(o, folder.path() + "/out");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  const std::string step = o.checkpoint_folder + "/step-00000003";
  absl::StatusOr<SafetensorsReader> weights = SafetensorsReader::open(step + "/model.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.status();
  for (const auto& [name, entry] : weights->entries()) EXPECT_EQ(entry.type, "BF16") << name;
  EXPECT_EQ(nlohmann::json::parse(*read_file(step + "/config.json"))["torch_dtype"], "bfloat16");
  absl::StatusOr<DataType> type = stored_weight_type(step);
  ASSERT_TRUE(type.ok()) << type.status();
  EXPECT_EQ(*type, DataType::kBFloat16);
}

INSTANTIATE_TEST_SUITE_P(All, Precision,
                         testing::Values(Storage{"Stochastic", {DataType::kBFloat16}},
                                         Storage{"Master", {DataType::kBFloat16, MasterWeights::kFp32}},
                                         Storage{"Master24", {DataType::kBFloat16, MasterWeights::kFp24}}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace galleon

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/checkpoint.h"

namespace galleon {
namespace {

// fp32 sums in another order move losses by less than this before the second refresh (docs/design/galore.md,
// section 4).
constexpr double kReordered = 1e-5;

void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance * std::abs(b[i])) << "step " << i + 1;
}

TEST(Training, LossFallsAndEvaluationFollows) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 60;
  o.evaluate_every = 30;
  const RankOutcome run = run_one(o, folder.path() + "/out");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  EXPECT_NEAR(run.observer.lines.front().loss, std::log(257.0), 0.05);
  EXPECT_LT(run.observer.lines.back().loss, 0.6 * run.observer.lines.front().loss);
  ASSERT_EQ(run.observer.evaluations.size(), 2U);
  EXPECT_LT(run.observer.evaluations[1].validation_loss, run.observer.evaluations[0].validation_loss);
  EXPECT_NEAR(run.observer.evaluations[1].perplexity(), std::exp(run.observer.evaluations[1].validation_loss), 1e-9);
}

struct Variant {
  const char* name;
  std::function<void(RunOptions&)> change;
};

class Ranks : public testing::TestWithParam<Variant> {};

TEST_P(Ranks, TwoRanksComputeWhatOneDoes) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  GetParam().change(o);
  const RankOutcome one = run_one(o, folder.path() + "/one");
  ASSERT_TRUE(one.result.ok()) << one.result.status();
  RunOptions two_options = o;
  two_options.checkpoint_folder += "-two";
  const std::vector<RankOutcome> two = run_ranks(two_options, 2, folder.path() + "/two");
  ASSERT_TRUE(two[0].result.ok()) << two[0].result.status();
  ASSERT_TRUE(two[1].result.ok()) << two[1].result.status();
  expect_close(two[0].observer.losses(), one.observer.losses(), kReordered);
  EXPECT_EQ(two[0].observer.losses(), two[1].observer.losses());
  for (size_t i = 0; i < one.observer.lines.size(); ++i) {
    EXPECT_NEAR(two[0].observer.lines[i].grad_norm, one.observer.lines[i].grad_norm,
                1e-4 * one.observer.lines[i].grad_norm);
  }
  // Moments are cut in two; bases are whole on each rank.
  const auto states = static_cast<int>(MemoryCategory::kOptimizerStates);
  EXPECT_NEAR(static_cast<double>(two[0].observer.ledger[states]),
              0.5 * static_cast<double>(one.observer.ledger[states]),
              0.03 * static_cast<double>(one.observer.ledger[states]));
}

TEST_P(Ranks, AccumulationChangesNothingButTheOrderOfSums) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  GetParam().change(o);
  o.micro_batch = 2;
  const RankOutcome four_by_two = run_one(o, folder.path() + "/a");
  ASSERT_TRUE(four_by_two.result.ok()) << four_by_two.result.status();
  o.micro_batch = 8;
  o.checkpoint_folder += "-b";
  const RankOutcome one_by_eight = run_one(o, folder.path() + "/b");
  ASSERT_TRUE(one_by_eight.result.ok()) << one_by_eight.result.status();
  expect_close(one_by_eight.observer.losses(), four_by_two.observer.losses(), kReordered);
}

TEST_P(Ranks, PerLayerUpdateIsThePerStepUpdate) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  GetParam().change(o);
  o.optimizer.clip_norm = 0;
  for (const int64_t micro_batch : {4, 8}) {
    o.micro_batch = micro_batch;
    o.optimizer.per_layer = false;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/s", micro_batch);
    const RankOutcome per_step = run_one(o, absl::StrCat(folder.path(), "/step", micro_batch));
    ASSERT_TRUE(per_step.result.ok()) << per_step.result.status();
    o.optimizer.per_layer = true;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/l", micro_batch);
    const RankOutcome per_layer = run_one(o, absl::StrCat(folder.path(), "/layer", micro_batch));
    ASSERT_TRUE(per_layer.result.ok()) << per_layer.result.status();
    expect_close(per_layer.observer.losses(), per_step.observer.losses(), kReordered);
    // With one micro-batch nothing outlives its layer: one accumulator instead of one for each parameter.
    const auto gradients = static_cast<int>(MemoryCategory::kGradients);
    if (micro_batch == 8) {
      EXPECT_LT(per_layer.observer.ledger[gradients], per_step.observer.ledger[gradients]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Ranks,
    testing::Values(
        Variant{"Subspace", [](RunOptions&) {}},
        // The second refresh of most matrices lies within the run: warm bases continue from equal first ones.
        Variant{"SubspaceAtOnce", [](RunOptions& o) { o.optimizer.galore->stagger = false; }},
        Variant{"Exact",
                [](RunOptions& o) {
                  o.optimizer.galore->refresh = RefreshMethod::kExact;
                  o.optimizer.galore->stagger = false;
                  o.optimizer.galore->refresh_interval = 20;
                }},
        Variant{"FullRank", [](RunOptions& o) { o.optimizer.galore.reset(); }},
        Variant{"ReverseSide", [](RunOptions& o) { o.optimizer.galore->side = ProjectionSide::kReverseStd; }},
        Variant{"LeftSide", [](RunOptions& o) { o.optimizer.galore->side = ProjectionSide::kLeft; }},
        Variant{"RightSide", [](RunOptions& o) { o.optimizer.galore->side = ProjectionSide::kRight; }},
        Variant{"ClippedDecayedUntied",
                [](RunOptions& o) {
                  o.optimizer.clip_norm = 0.5;
                  o.optimizer.weight_decay = 0.1;
                  o.optimizer.galore->moments = MomentsAtRefresh::kReset;
                  o.model.overrides = {{"tie_word_embeddings", "false"}, {"num_key_value_heads", "2"}};
                }}),
    [](const auto& test) { return test.param.name; });

class Resume : public testing::TestWithParam<int> {};

TEST_P(Resume, SixtyLossesAfterAStopAtThirtyAreThoseOfAnUninterruptedRun) {
  const int ranks = GetParam();
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 60;
  o.evaluate_every = 20;
  const std::vector<RankOutcome> whole = run_ranks(o, ranks, folder.path() + "/whole");
  ASSERT_TRUE(whole[0].result.ok()) << whole[0].result.status();

  o.checkpoint_folder += "-cut";
  const std::vector<RankOutcome> first =
      run_ranks(o, ranks, folder.path() + "/cut",
                [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 30; });
  ASSERT_TRUE(first[0].result.ok()) << first[0].result.status();
  ASSERT_TRUE(first[0].result->stopped);
  ASSERT_EQ(first[0].result->step, 30);
  const std::vector<RankOutcome> second = run_ranks(o, ranks, folder.path() + "/cut");
  ASSERT_TRUE(second[0].result.ok()) << second[0].result.status();
  std::vector<double> losses = first[0].observer.losses();
  const std::vector<double> rest = second[0].observer.losses();
  losses.insert(losses.end(), rest.begin(), rest.end());
  EXPECT_EQ(losses, whole[0].observer.losses());
  EXPECT_EQ(second[0].observer.evaluations.back().validation_loss,
            whole[0].observer.evaluations.back().validation_loss);

  // metrics.jsonl holds each step once, in order.
  absl::StatusOr<std::string> text = read_file(folder.path() + "/cut/metrics.jsonl");
  ASSERT_TRUE(text.ok());
  std::vector<int64_t> steps;
  for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const nlohmann::json json = nlohmann::json::parse(line.begin(), line.end());
    if (json.contains("loss")) steps.push_back(json["step"].get<int64_t>());
  }
  ASSERT_EQ(steps.size(), 60U);
  for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i], static_cast<int64_t>(i) + 1);
}

INSTANTIATE_TEST_SUITE_P(OnRanks, Resume, testing::Values(1, 2));

TEST_P(Resume, TheFirstLineAfterAResumeTellsOfAllRefreshesSinceTheLastLine) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 40;
  o.log_every = 10;
  o.checkpoint_every = 17;
  o.optimizer.galore->refresh_interval = 8;
  const std::vector<RankOutcome> whole = run_ranks(o, GetParam(), folder.path() + "/whole");
  ASSERT_TRUE(whole[0].result.ok()) << whole[0].result.status();
  const std::string all = o.checkpoint_folder;
  for (const int64_t from : {17, 34}) {
    o.checkpoint_folder = absl::StrCat(all, "-", from);
    const std::string step = absl::StrFormat("/step-%08d", from);
    ASSERT_TRUE(make_folders(o.checkpoint_folder).ok());
    std::filesystem::copy(all + step, o.checkpoint_folder + step, std::filesystem::copy_options::recursive);
    const std::vector<RankOutcome> rest = run_ranks(o, GetParam(), absl::StrCat(folder.path(), "/from-", from));
    ASSERT_TRUE(rest[0].result.ok()) << rest[0].result.status();
    std::vector<StepLine> expected = whole[0].observer.lines;
    std::erase_if(expected, [from](const StepLine& line) { return line.step <= from; });
    const std::vector<StepLine>& lines = rest[0].observer.lines;
    ASSERT_EQ(lines.size(), expected.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_EQ(lines[i].step, expected[i].step);
      EXPECT_EQ(lines[i].subspace_overlap, expected[i].subspace_overlap) << "step " << lines[i].step;
      EXPECT_EQ(lines[i].captured_energy, expected[i].captured_energy) << "step " << lines[i].step;
      EXPECT_EQ(lines[i].refreshed, expected[i].refreshed) << "step " << lines[i].step;
    }
    EXPECT_GT(lines[0].subspace_overlap, 0);
    EXPECT_GT(lines[0].captured_energy, 0);
  }
}

TEST(Resume, ACheckpointOfTwoRanksGoesOnWithOneAndWithThree) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 12;
  o.global_batch = 12;
  o.micro_batch = 2;
  const RankOutcome whole = run_one(o, folder.path() + "/whole");
  ASSERT_TRUE(whole.result.ok()) << whole.result.status();
  o.checkpoint_folder += "-cut";
  const std::vector<RankOutcome> first = run_ranks(
      o, 2, folder.path() + "/cut", [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 5; });
  ASSERT_TRUE(first[0].result.ok()) << first[0].result.status();
  for (const int ranks : {1, 3}) {
    RunOptions again = o;
    again.checkpoint_folder = absl::StrCat(o.checkpoint_folder, ranks);
    std::filesystem::copy(o.checkpoint_folder, again.checkpoint_folder, std::filesystem::copy_options::recursive);
    const std::vector<RankOutcome> rest = run_ranks(again, ranks, absl::StrCat(folder.path(), "/on", ranks));
    ASSERT_TRUE(rest[0].result.ok()) << rest[0].result.status();
    const std::vector<double> expected = whole.observer.losses();
    expect_close(rest[0].observer.losses(), {expected.begin() + 5, expected.end()}, kReordered);
  }
}

TEST(Resume, AnotherJobsFolderIsRefusedByName) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 2;
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  o.name = "other";
  o.steps = 3;
  const absl::Status status = run_one(o, folder.path() + "/out").result.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(status.message(), "belongs to job \"tiny\", not to \"other\"")) << status;
}

TEST(Resume, OtherMathematicsAndOtherSchedulesAreRefusedByName) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 4;
  o.mathematics = "optimizer.learning_rate: 0.01\n";
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  RunOptions other = o;
  other.mathematics = "optimizer.learning_rate: 0.02\n";
  absl::Status status = run_one(other, folder.path() + "/out").result.status();
  EXPECT_TRUE(absl::StrContains(status.message(), "optimizer.learning_rate (0.01 in the checkpoint, 0.02 now)"))
      << status;
  other = o;
  other.steps = 8;
  status = run_one(other, folder.path() + "/out").result.status();
  EXPECT_TRUE(absl::StrContains(status.message(), "set optimizer.schedule.steps: 4")) << status;
  other.schedule_steps = 4;
  const RankOutcome more = run_one(other, folder.path() + "/out");
  ASSERT_TRUE(more.result.ok()) << more.result.status();
  EXPECT_EQ(more.result->step, 8);
}

TEST(Resume, ADamagedCheckpointIsSetAsideByNameAndTheOneBeforeItIsTaken) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 6;
  o.checkpoint_every = 2;
  const RankOutcome whole = run_one(o, folder.path() + "/out");
  ASSERT_TRUE(whole.result.ok());
  const std::string newest = o.checkpoint_folder + "/step-00000006/model.safetensors";
  absl::StatusOr<std::string> content = read_file(newest);
  ASSERT_TRUE(content.ok());
  (*content)[content->size() / 2] ^= 1;
  ASSERT_TRUE(write_file_atomically(newest, *content).ok());
  const RankOutcome again = run_one(o, folder.path() + "/out");
  ASSERT_TRUE(again.result.ok()) << again.result.status();
  bool told = false;
  for (const std::string& stage : again.observer.stages)
    told |= absl::StrContains(stage, "from step 4") && absl::StrContains(stage, "checksum differs");
  EXPECT_TRUE(told);
  const std::vector<double> expected = whole.observer.losses();
  EXPECT_EQ(again.observer.losses(), std::vector<double>(expected.begin() + 4, expected.end()));
  EXPECT_EQ(list_checkpoints(o.checkpoint_folder), (std::vector<int64_t>{2, 4, 6}));
}

TEST(Resume, NeverRefusesAFolderThatHoldsCheckpoints) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 2;
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  o.resume = "never";
  const absl::Status status = run_one(o, folder.path() + "/out").result.status();
  EXPECT_TRUE(absl::StrContains(status.message(), "already holds checkpoints up to step 2")) << status;
}

TEST(Resume, ARecordedCheckpointWhoseTrainerDiedBeforeTheRenameIsPublishedAndUsed) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 6;
  const RankOutcome whole = run_one(o, folder.path() + "/whole");
  o.checkpoint_folder += "-service";
  const RankOutcome first = run_one(o, folder.path() + "/out",
                                    [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 3; });
  ASSERT_TRUE(first.result.ok());
  const std::string& c = o.checkpoint_folder;
  std::filesystem::rename(c + "/" + step_folder_name(3), c + "/" + pending_folder_name(3, 1));
  const RankOutcome second =
      run_one(o, folder.path() + "/out", [](int, RecordingObserver& observer, RunContext& context) {
        context.epoch = 2;
        context.resume = {true, 3, 1};
        observer.resumed_at = 3;
      });
  ASSERT_TRUE(second.result.ok()) << second.result.status();
  const std::vector<double> expected = whole.observer.losses();
  EXPECT_EQ(second.observer.losses(), std::vector<double>(expected.begin() + 3, expected.end()));
}

// An attempt of epoch 1 that wrote step 3 whole, and whose lease ended before anybody said that it may be published.
struct LeftBehind {
  explicit LeftBehind(const TestFolder& folder) : o(tiny_run(folder)), out(folder.path() + "/out") {
    o.steps = 6;
    whole = run_one(o, folder.path() + "/whole");
    o.checkpoint_folder += "-service";
    EXPECT_TRUE(
        run_one(o, out, [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 3; }).result.ok());
    std::filesystem::rename(checkpoint(step_folder_name(3)), checkpoint(pending_folder_name(3, 1)));
  }
  std::string checkpoint(const std::string& name) const { return absl::StrCat(o.checkpoint_folder, "/", name); }
  // The attempt of epoch 2, for which nothing is recorded.
  RankOutcome next(const std::function<absl::Status(int64_t)>& gate = {}) const {
    return run_one(o, out, [&](int, RecordingObserver& observer, RunContext& context) {
      context.epoch = 2;
      context.resume = {true, 0, 0};
      observer.gate = gate;
    });
  }

  RunOptions o;
  const std::string out;
  RankOutcome whole;
};

TEST(Resume, WhatAnAttemptCouldNotPublishBeforeItsLeaseEndedIsOfferedByTheNextOne) {
  TestFolder folder;
  const LeftBehind left(folder);
  std::vector<int64_t> offered;
  const RankOutcome next = left.next([&](int64_t step) {
    offered.push_back(step);
    EXPECT_EQ(step == 3, std::filesystem::exists(left.checkpoint(pending_folder_name(3, 2))));
    return absl::OkStatus();
  });
  ASSERT_TRUE(next.result.ok()) << next.result.status();
  EXPECT_EQ(offered, (std::vector<int64_t>{3, 6}));
  const std::vector<double> expected = left.whole.observer.losses();
  EXPECT_EQ(next.observer.losses(), std::vector<double>(expected.begin() + 3, expected.end()));
}

TEST(Resume, WhatWasLeftAndIsRefusedDamagedOrAnotherJobsIsNotUsed) {
  const auto begins_anew = [](const LeftBehind& left, const std::function<absl::Status(int64_t)>& gate) {
    const RankOutcome next = left.next(gate);
    ASSERT_TRUE(next.result.ok()) << next.result.status();
    EXPECT_EQ(next.observer.losses(), left.whole.observer.losses());
    EXPECT_FALSE(std::filesystem::exists(left.checkpoint(pending_folder_name(3, 1)))) << "never removed";
  };
  {
    TestFolder folder;
    begins_anew(LeftBehind(folder),
                [](int64_t step) { return step == 3 ? absl::AbortedError("over") : absl::OkStatus(); });
  }
  {
    TestFolder folder;
    const LeftBehind left(folder);
    const std::string weights = left.checkpoint(pending_folder_name(3, 1) + "/model.safetensors");
    std::string bytes = *read_file(weights);
    bytes[bytes.size() / 2] ^= 1;
    ASSERT_TRUE(write_file_atomically(weights, bytes).ok());
    begins_anew(left, {});
  }
  {
    TestFolder folder;
    const LeftBehind left(folder);
    std::filesystem::remove(left.checkpoint(pending_folder_name(3, 1) + "/" + kManifest));
    begins_anew(left, {});
  }
}

TEST(Resume, AFolderThatTheJobNamesIsWhereItBeginsInAServiceToo) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 6;
  o.checkpoint_every = 2;
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  RunOptions named = o;
  named.resume = o.checkpoint_folder + "/" + step_folder_name(4);
  named.checkpoint_folder += "-service";
  const RankOutcome again =
      run_one(named, folder.path() + "/service", [](int, RecordingObserver&, RunContext& context) {
        context.epoch = 1;
        context.resume = {true, 0, 0};
      });
  ASSERT_TRUE(again.result.ok()) << again.result.status();
  ASSERT_FALSE(again.observer.lines.empty());
  EXPECT_EQ(again.observer.lines.front().step, 5);
}

TEST(Resume, AServiceNeverUsesACheckpointThatWasNotRecorded) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 6;
  o.checkpoint_every = 2;
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  const RankOutcome again = run_one(o, folder.path() + "/out", [](int, RecordingObserver&, RunContext& context) {
    context.epoch = 2;
    context.resume = {true, 4, 1};
  });
  // Step 6 exists already, so that publishing it again is refused: nothing is ever replaced.
  ASSERT_FALSE(again.observer.lines.empty());
  EXPECT_EQ(again.observer.lines.front().step, 5);
  EXPECT_FALSE(again.result.ok());
}

TEST(Checkpoint, ARefusedPublicationLeavesNoCheckpointAndFailsEveryRank) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 4;
  o.checkpoint_every = 2;
  const std::vector<RankOutcome> run =
      run_ranks(o, 2, folder.path() + "/out", [](int, RecordingObserver& observer, RunContext&) {
        observer.gate = [](int64_t step) {
          return step == 2 ? absl::OkStatus() : absl::AbortedError("the epoch is over");
        };
      });
  for (const RankOutcome& rank : run) {
    EXPECT_TRUE(absl::StrContains(rank.result.status().message(), "the epoch is over")) << rank.result.status();
    EXPECT_TRUE(absl::StrContains(rank.result.status().message(), "step 2 is kept"));
  }
  EXPECT_EQ(list_checkpoints(o.checkpoint_folder), (std::vector<int64_t>{2}));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(o.checkpoint_folder), {}), 1);
}

TEST(Checkpoint, OnlyTheNewestAreKept) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 6;
  o.checkpoint_every = 1;
  o.checkpoint_keep = 2;
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  EXPECT_EQ(list_checkpoints(o.checkpoint_folder), (std::vector<int64_t>{5, 6}));
}

TEST(Plan, EveryCategoryOfTheDryRunIsTheLedgerOfTheRun) {
  TestFolder folder;
  for (const int ranks : {1, 2}) {
    for (const bool per_layer : {false, true}) {
      for (const bool exact : {false, true}) {
        for (const int64_t micro_batch : {2, 4}) {
          RunOptions o = tiny_run(folder);
          o.steps = 3;
          o.micro_batch = micro_batch;
          o.optimizer.per_layer = per_layer;
          if (exact) o.optimizer.galore->refresh = RefreshMethod::kExact;
          o.checkpoint_folder = absl::StrCat(folder.path(), "/c", ranks, per_layer, exact, micro_batch);
          const std::vector<RankOutcome> run = run_ranks(o, ranks, absl::StrCat(folder.path(), "/out"));
          ASSERT_TRUE(run[0].result.ok()) << run[0].result.status();
          absl::StatusOr<ResolvedJob> job = resolve_job(o);
          absl::StatusOr<EngineShape> shape = engine_shape(o, job->config, ranks);
          ASSERT_TRUE(shape.ok());
          for (int rank = 0; rank < ranks; ++rank) {
            absl::StatusOr<RankEstimate> plan = dry_run(*shape, "cpu", rank, ranks);
            ASSERT_TRUE(plan.ok());
            for (int i = 0; i < kMemoryCategories; ++i) {
              EXPECT_EQ(plan->by_category[i], run[rank].observer.ledger[i])
                  << category_name(static_cast<MemoryCategory>(i));
              EXPECT_EQ(plan->by_category[i], run[rank].observer.lines.back().memory[i]) << "at the end";
            }
            EXPECT_EQ(plan->peak_bytes, run[rank].observer.ledger_peak);
          }
        }
      }
    }
  }
}

TEST(Plan, BytesSentInAStepWithoutARefreshAreThePlans) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 5;
  o.optimizer.galore->refresh_interval = 1000;
  o.optimizer.galore->stagger = false;
  const std::vector<RankOutcome> run = run_ranks(o, 3 - 1, folder.path() + "/out");
  ASSERT_TRUE(run[0].result.ok());
  absl::StatusOr<ResolvedJob> job = resolve_job(o);
  for (int rank = 0; rank < 2; ++rank) {
    absl::StatusOr<RankEstimate> plan = dry_run(*engine_shape(o, job->config, 2), "cpu", rank, 2);
    const SentBytes& sent = run[rank].observer.lines.back().sent;
    EXPECT_EQ(plan->sent_step.of(Collective::kReduceScatter), sent.of(Collective::kReduceScatter));
    EXPECT_EQ(plan->sent_step.of(Collective::kAllGather), sent.of(Collective::kAllGather));
    EXPECT_EQ(plan->sent_step.total(), sent.total());
  }
}

TEST(Plan, AHardLimitIsKeptAndNamesWhatDidNotFit) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 2;
  absl::StatusOr<ResolvedJob> job = resolve_job(o);
  absl::StatusOr<RankEstimate> plan = dry_run(*engine_shape(o, job->config, 1), "cpu", 0, 1);
  o.memory_limit = plan->peak_bytes;
  const RankOutcome fits = run_one(o, folder.path() + "/fits");
  EXPECT_TRUE(fits.result.ok()) << fits.result.status();
  o.memory_limit = plan->peak_bytes - 64;
  o.checkpoint_folder += "-small";
  const absl::Status status = run_one(o, folder.path() + "/small").result.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

TEST(Training, BadInputIsNamedBeforeAnyStep) {
  TestFolder folder;
  const RunOptions good = tiny_run(folder);
  auto error_of = [&](const std::function<void(RunOptions&)>& change) {
    RunOptions o = good;
    change(o);
    const RankOutcome run = run_one(o, folder.path() + "/out");
    EXPECT_TRUE(run.observer.lines.empty());
    return std::string(run.result.status().message());
  };
  using testing::HasSubstr;
  EXPECT_THAT(error_of([&](RunOptions& o) { o.data.train = {folder.path() + "/none-*.txt"}; }),
              HasSubstr("data.train: no file matches"));
  EXPECT_THAT(error_of([&](RunOptions& o) { o.data.train = {folder.write("empty.txt", "")}; }),
              HasSubstr("data.train: there is no text in"));
  EXPECT_THAT(error_of([&](RunOptions& o) { o.data.train = {folder.write("short.txt", "ten bytes.")}; }),
              HasSubstr("data.train: 11 tokens are too few for one sequence of data.sequence_length 32"));
  EXPECT_THAT(error_of([&](RunOptions& o) {
                o.data.train = {
                    folder.write("cut.txt.gz", std::string("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x4c", 12))};
              }),
              HasSubstr("the file is truncated"));
  EXPECT_THAT(
      error_of([&](RunOptions& o) { o.data.train = {folder.write("bad.jsonl", "{\"text\": \"a\"}\n{\"txt\": 1}\n")}; }),
      HasSubstr("bad.jsonl:2: no text field \"text\""));
  EXPECT_THAT(error_of([&](RunOptions& o) { o.tokenizer = folder.path() + "/no.model"; }),
              HasSubstr("no.model does not exist"));
  EXPECT_THAT(error_of([&](RunOptions& o) { o.model.source = "preset:huge"; }), HasSubstr("one of tiny, llama-9m"));
  EXPECT_THAT(error_of([&](RunOptions& o) {
                o.model.overrides = {{"vocab_size", "100"}};
              }),
              HasSubstr("has 257 pieces, and the model's vocab_size is 100"));
  EXPECT_THAT(error_of([&](RunOptions& o) { o.micro_batch = 3; }),
              HasSubstr("not a multiple of training.micro_batch 3"));
}

// The mean over the targets of the global batch does not depend on which rank or pass a short document falls into.
TEST(Training, WithoutPackingTheLossIsTheMeanOverRealTargetsOnAnyRanksAndPasses) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  std::string lines;
  std::mt19937_64 random(5);
  for (int i = 0; i < 40; ++i) lines += absl::StrCat("{\"text\": \"", made_up_text(1 + random() % 12, i), "\"}\n");
  o.data.train = {folder.write("train.jsonl", lines)};
  o.data.validation = {folder.write("validation.jsonl", lines)};
  o.data.packing = false;
  o.steps = 6;
  o.evaluate_every = 6;
  const RankOutcome one = run_one(o, folder.path() + "/one");
  ASSERT_TRUE(one.result.ok()) << one.result.status();
  EXPECT_NEAR(one.observer.lines.front().loss, std::log(257.0), 0.05);
  EXPECT_LT(one.observer.lines.back().tokens, 6 * 8 * 32) << "padding is not counted";
  o.micro_batch = 2;
  o.checkpoint_folder += "-two";
  const std::vector<RankOutcome> two = run_ranks(o, 2, folder.path() + "/two");
  ASSERT_TRUE(two[0].result.ok()) << two[0].result.status();
  expect_close(two[0].observer.losses(), one.observer.losses(), kReordered);
  EXPECT_EQ(two[0].observer.lines.back().tokens, one.observer.lines.back().tokens);
  EXPECT_NEAR(two[0].observer.evaluations[0].validation_loss, one.observer.evaluations[0].validation_loss, 1e-5);
  EXPECT_EQ(two[0].observer.evaluations[0].validation_tokens, one.observer.evaluations[0].validation_tokens);
}

TEST(Training, TokenFilesAreReadAsWindowsInOrderAndWrapAround) {
  TestFolder folder;
  std::string ids;
  for (int i = 0; i < 100; ++i) {
    ids.push_back(static_cast<char>(i));
    ids.push_back(0);
  }
  RunOptions o = tiny_run(folder);
  o.tokenizer = "";
  o.data.train = {folder.write("train.tokens", ids)};
  o.data.validation.clear();
  o.data.format = "tokens";
  o.data.shuffle = false;
  o.model.overrides = {{"vocab_size", "100"}};
  o.data.sequence_length = 32;
  o.global_batch = 4;  // 3 windows: the fourth of a step is the first again
  o.micro_batch = 4;
  o.steps = 2;
  const RankOutcome run = run_one(o, folder.path() + "/out");
  EXPECT_TRUE(run.result.ok()) << run.result.status();
  RunOptions bad = o;
  bad.model.overrides = {{"vocab_size", "99"}};
  EXPECT_TRUE(absl::StrContains(run_one(bad, folder.path() + "/bad").result.status().message(),
                                "id 99 at position 99 does not fit the vocabulary of 99"));
}

}  // namespace
}  // namespace galleon

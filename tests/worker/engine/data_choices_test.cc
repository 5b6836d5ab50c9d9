// What a job says about its data beyond the files: the last batch of an epoch, rows that cannot be read, data that has
// changed since a checkpoint.
#include <future>

#include "tests/worker/engine/labelled_letters.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/manifest.h"
#include "worker/engine/data/corpus.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string rows(int count, int first = 0) {
  std::string text;
  for (int i = first; i < first + count; ++i)
    absl::StrAppend(&text, "{\"text\": \"row ", i * i % 97, " says ", i, "\"}\n");
  return text;
}

RunOptions rows_run(const TestFolder& folder, const std::string& content) {
  RunOptions o = tiny_run(folder);
  o.data.train = {folder.write("rows.jsonl", content)};
  o.data.validation = {};
  o.data.packing = false;
  o.evaluate_every = 0;
  return o;
}

TEST(LastBatch, AShortOneHasTheSameLossOnAnyNumberOfRanks) {
  std::vector<double> losses[4];
  for (const int ranks : {1, 2, 3}) {
    for (const int zero : {1, 3}) {
      TestFolder folder;
      RunOptions o = rows_run(folder, rows(20));
      o.optimizer.zero = zero;
      o.steps = 0;
      o.epochs = 3;
      o.global_batch = 18;
      o.micro_batch = 3;
      o.last_batch = LastBatch::kShort;
      std::vector<RankOutcome> outcomes = run_ranks(o, ranks, folder.path());
      ASSERT_TRUE(outcomes[0].result.ok()) << outcomes[0].result.status();
      const RecordingObserver& seen = outcomes[0].observer;
      EXPECT_EQ(seen.lines.size(), 6U);
      EXPECT_THAT(seen.stages, testing::Contains(
                                   HasSubstr("training.epochs 3 of 20 sequences in batches of 18: 6 steps; the last of "
                                             "an epoch has 2 (data.last_batch: short)")));
      // Each epoch has the tokens of all rows once.
      EXPECT_EQ(seen.lines[3].tokens, 2 * seen.lines[1].tokens);
      EXPECT_EQ(seen.lines[5].tokens, 3 * seen.lines[1].tokens);
      if (losses[1].empty()) losses[1] = seen.losses();
      for (size_t i = 0; i < 6; ++i)
        EXPECT_NEAR(seen.losses()[i], losses[1][i], 2e-4) << ranks << " " << zero << " " << i;
    }
  }
}

// 401 rows leave one, for four passes of two ranks.
TEST(LastBatch, AShortOneOfLabelledRowsLeavesPassesWithoutARowOutOfTheLoss) {
  TestFolder folder;
  RunOptions o = classification(folder);
  o.data.train = {folder.write("train.tsv", labelled_letters(401, 1))};
  o.steps = 26;
  o.evaluate_every = 0;
  o.last_batch = LastBatch::kShort;
  std::vector<double> alone;
  for (const int ranks : {1, 2}) {
    o.micro_batch = ranks == 1 ? 16 : 4;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/checkpoints-", ranks);
    const std::vector<RankOutcome> outcomes = run_ranks(o, ranks, absl::StrCat(folder.path(), "/", ranks));
    ASSERT_TRUE(outcomes[0].result.ok()) << outcomes[0].result.status();
    ASSERT_EQ(outcomes[0].observer.losses().size(), 26U);
    if (ranks == 1) alone = outcomes[0].observer.losses();
    EXPECT_NEAR(outcomes[0].observer.losses()[25], alone[25], 0.02) << ranks;
  }
}

TEST(LastBatch, WhatIsDroppedAndWhatIsSeenTwiceIsTold) {
  const struct {
    LastBatch last;
    int steps;
    const char* told;
  } cases[] = {
      {LastBatch::kWrap, 5,
       "8 sequences in batches of 3: 5 steps, in which each is seen 1 times, and 7 of them once more"},
      {LastBatch::kShort, 6, "6 steps; the last of an epoch has 2"},
      {LastBatch::kDrop, 4, "4 steps; 2 of an epoch are left out"},
  };
  for (const auto& c : cases) {
    TestFolder folder;
    RunOptions o = rows_run(folder, rows(8));
    o.steps = 0;
    o.epochs = 2;
    o.global_batch = o.micro_batch = 3;
    o.last_batch = c.last;
    RankOutcome outcome = run_one(o, folder.path());
    ASSERT_TRUE(outcome.result.ok()) << outcome.result.status();
    EXPECT_EQ(outcome.result->step, c.steps);
    EXPECT_THAT(outcome.observer.stages, testing::Contains(HasSubstr(c.told)));
  }
}

TEST(LastBatch, DroppingAllIsRefused) {
  TestFolder folder;
  RunOptions o = rows_run(folder, rows(8));
  o.steps = 0;
  o.epochs = 1;
  o.global_batch = 16;
  o.last_batch = LastBatch::kDrop;
  EXPECT_THAT(std::string(run_one(o, folder.path()).result.status().message()),
              HasSubstr("data.last_batch: drop leaves nothing of 8 sequences"));
}

TEST(BadRows, AreCountedAndNamedUpToABound) {
  TestFolder folder;
  RunOptions o = rows_run(folder, rows(3) + "{\"text\": null}\n[]\n" + rows(3));
  EXPECT_THAT(std::string(run_one(o, folder.path() + "/a").result.status().message()), HasSubstr("rows.jsonl:4:"));
  o.data.skip_bad_rows = true;
  RankOutcome skipped = run_one(o, folder.path() + "/b");
  ASSERT_TRUE(skipped.result.ok()) << skipped.result.status();
  EXPECT_THAT(
      skipped.observer.stages,
      testing::Contains(testing::AllOf(HasSubstr("2 bad rows skipped (data.bad_rows): "), HasSubstr("rows.jsonl:4:"),
                                       HasSubstr("rows.jsonl:5: not a JSON object: it is an array"))));
  EXPECT_EQ(skipped.result->bad_rows, 2);
  EXPECT_EQ(skipped.observer.lines.back().bad_rows, 2);
  const std::string metrics = *read_file(folder.path() + "/b/metrics.jsonl");
  EXPECT_THAT(metrics, HasSubstr("\"bad_rows\":2"));
  o.data.max_bad_rows = 1;
  o.checkpoint_folder = folder.path() + "/c/checkpoints";
  EXPECT_THAT(std::string(run_one(o, folder.path() + "/c").result.status().message()),
              HasSubstr("2 bad rows are more than data.max_bad_rows 1"));
}

// Passes on to another tokenizer, and holds the text "hold" until the gate is open.
class HoldingTokenizer final : public Tokenizer {
 public:
  HoldingTokenizer(std::unique_ptr<Tokenizer> inner, std::shared_future<void> gate)
      : inner_(std::move(inner)), gate_(std::move(gate)) {}
  void encode(absl::string_view text, std::vector<int32_t>& ids) const override {
    if (text == "hold") gate_.wait();
    inner_->encode(text, ids);
  }
  int64_t vocabulary() const override { return inner_->vocabulary(); }
  SpecialTokens special() const override { return inner_->special(); }
  std::vector<std::pair<std::string, int32_t>> marks() const override { return inner_->marks(); }
  std::string decode(const std::vector<int32_t>& ids) const override { return inner_->decode(ids); }
  std::vector<std::string> files() const override { return inner_->files(); }

 private:
  std::unique_ptr<Tokenizer> inner_;
  std::shared_future<void> gate_;
};

// The row is met when training has begun: what stands before it waits for the first steps.
TEST(BadRows, ALateOneEndsTheRunBehindACheckpointFromWhichItGoesOnWithoutTheRow) {
  for (const int ranks : {1, 2}) {
    TestFolder folder;
    const std::string good = rows(40000) + "{\"text\": \"hold\"}\n";
    RunOptions o = rows_run(folder, good + "{\"text\": null}\n");
    o.steps = 1000000;
    o.schedule_steps = 100;
    std::promise<void> trained;
    const std::shared_future<void> gate = trained.get_future().share();
    const auto open_gate = [&](int rank, RecordingObserver& observer, RunContext&) {
      if (rank == 0)
        observer.step_logged = [&](const StepLine& line) {
          if (line.step == 3) trained.set_value();
        };
    };
    const auto hold = [&](ResolvedJob& job) {
      job.tokenizer = std::make_unique<HoldingTokenizer>(std::move(job.tokenizer), gate);
    };
    std::vector<RankOutcome> ended = run_ranks(
        o, ranks, folder.path(), open_gate, [] { return make_cpu_device(1); }, hold);
    const std::string error(ended[0].result.status().message());
    EXPECT_THAT(error, HasSubstr("no text field \"text\""));
    EXPECT_THAT(error, HasSubstr("is kept"));
    for (const RankOutcome& rank : ended)
      EXPECT_THAT(std::string(rank.result.status().message()), HasSubstr("rows.jsonl:40002"));
    ASSERT_EQ(ended[0].observer.published_steps.size(), 1U);
    EXPECT_GE(ended[0].observer.lines.size(), 3U);
    const int64_t saved = ended[0].observer.published_steps[0];
    o.data.train = {folder.write("rows.jsonl", good)};
    o.steps = saved + 2;
    EXPECT_THAT(std::string(run_ranks(o, ranks, folder.path())[0].result.status().message()),
                HasSubstr("set checkpoint.resume_with_changed_data: true"));
    o.resume_with_changed_data = true;
    std::vector<RankOutcome> resumed = run_ranks(o, ranks, folder.path());
    ASSERT_TRUE(resumed[0].result.ok()) << resumed[0].result.status();
    absl::StatusOr<CheckpointHeader> header =
        read_checkpoint_header(absl::StrCat(o.checkpoint_folder, "/", step_folder_name(saved + 2)));
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_THAT(header->data_changes,
                ElementsAre(HasSubstr(absl::StrCat("from step ", saved, ": data.train content"))));
  }
}

}  // namespace
}  // namespace galleon

// Encoders trained on labelled rows: they learn, rank by rank the same, and what they leave names its labels.
#include <nlohmann/json.hpp>

#include "tests/worker/engine/labelled_letters.h"

namespace galleon {
namespace {

using testing::HasSubstr;

TEST(Classification, AnEncoderLearnsATaskAndItsCheckpointNamesTheLabels) {
  TestFolder folder;
  RunOptions o = classification(folder);
  const RankOutcome run = run_ranks(o, 1, folder.path() + "/run")[0];
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  EXPECT_NEAR(run.observer.lines.front().loss, std::log(2.0), 0.1) << "the mean over rows";
  ASSERT_EQ(run.observer.evaluations.size(), 1U);
  const EvaluationLine& line = run.observer.evaluations[0];
  EXPECT_GT(line.metrics.at("accuracy"), 0.95);
  EXPECT_LT(line.validation_loss, 0.2);
  const std::string config = *read_file(o.checkpoint_folder + "/step-00000150/config.json");
  EXPECT_EQ(nlohmann::json::parse(config)["id2label"], (nlohmann::json{{"0", "0"}, {"1", "1"}}));
}

TEST(Classification, RanksAndPassesGiveTheLossesAndMetricsOfOne) {
  TestFolder folder;
  RunOptions o = classification(folder);
  o.steps = o.evaluate_every = 8;
  const RankOutcome one = run_ranks(o, 1, folder.path() + "/one")[0];
  ASSERT_TRUE(one.result.ok()) << one.result.status();
  for (const int64_t zero : {1, 3}) {
    SCOPED_TRACE(zero);
    RunOptions shared = o;
    shared.micro_batch = 4;
    shared.optimizer.zero = static_cast<int>(zero);
    shared.checkpoint_folder = absl::StrCat(folder.path(), "/checkpoints-", zero);
    const std::vector<RankOutcome> two = run_ranks(shared, 2, absl::StrCat(folder.path(), "/two-", zero));
    ASSERT_TRUE(two[0].result.ok()) << two[0].result.status();
    // Before the second refresh sums differ in their order alone (docs/design/galore.md, section 4: at most 1e-5).
    for (size_t i = 0; i < 8; ++i)
      EXPECT_NEAR(two[0].observer.losses()[i], one.observer.losses()[i], 1e-5) << "step " << i + 1;
    const EvaluationLine& line = two[0].observer.evaluations.at(0);
    EXPECT_NEAR(line.validation_loss, one.observer.evaluations.at(0).validation_loss, 1e-5);
    EXPECT_EQ(line.validation_tokens, one.observer.evaluations.at(0).validation_tokens);
    EXPECT_EQ(line.metrics, one.observer.evaluations.at(0).metrics);
  }
}

TEST(Classification, ARunGoesOnBitForBit) {
  TestFolder folder;
  RunOptions o = classification(folder);
  o.steps = 30;
  o.evaluate_every = 0;
  o.data.sequence_length = 10;
  const RankOutcome whole = run_ranks(o, 1, folder.path() + "/whole")[0];
  ASSERT_TRUE(whole.result.ok()) << whole.result.status();
  o.checkpoint_folder += "-stopped";
  const auto stop = [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 27; };
  ASSERT_TRUE(run_ranks(o, 1, folder.path() + "/stopped", stop)[0].result.ok());
  const RankOutcome rest = run_ranks(o, 1, folder.path() + "/stopped")[0];
  ASSERT_TRUE(rest.result.ok()) << rest.result.status();
  ASSERT_EQ(rest.observer.losses().size(), 3U) << "the second epoch began in step 26";
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(rest.observer.losses()[i], whole.observer.losses()[27 + i]);
}

TEST(Classification, AModelWithoutAHeadIsRefused) {
  TestFolder folder;
  RunOptions o = classification(folder);
  o.model.source = "preset:tiny";
  EXPECT_THAT(std::string(resolve_job(o).status().message()),
              HasSubstr("preset:tiny is a llama, which has no head for task: classify; a BERT or a RoBERTa has"));
  RunOptions text = tiny_run(folder);
  text.model.source = letters_model(folder);
  EXPECT_THAT(std::string(resolve_job(text).status().message()), HasSubstr("is a bert, which needs task: classify"));
}

}  // namespace
}  // namespace galleon

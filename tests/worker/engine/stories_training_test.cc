// A pretrained model that goes on learning: ../shared/data/models/stories260K on text that it has never seen.
#include <fstream>
#include <sstream>

#include "tests/worker/engine/run_support.h"
#include "tests/worker/engine/stories_tokenizer.h"

namespace galleon {
namespace {

const char* const kStories = GALLEON_SOURCE_DIR "/../shared/data/models/stories260K";

std::string of_book(const std::string& name, size_t bytes) {
  std::ifstream file(absl::StrCat(GALLEON_SOURCE_DIR, "/deploy/examples/janeausten/", name));
  std::stringstream text;
  text << file.rdbuf();
  return text.str().substr(2000, bytes);
}

class StoriesTraining : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kStories)) GTEST_SKIP() << "no ../shared/data/models/stories260K beside the project";
    tokenizer_ =
        folder_.write("tok512.model", sentencepiece_model_of(*read_file(absl::StrCat(kStories, "/tok512.bin"))));
    if (absl::Status s = open_tokenizer(tokenizer_).status(); absl::IsUnavailable(s)) GTEST_SKIP() << s.message();
  }
  RunOptions fine_tuning() {
    RunOptions o = tiny_run(folder_);
    o.model.source = kStories;
    o.model.pretrained = true;
    o.tokenizer = tokenizer_;
    o.data.sequence_length = 128;
    o.optimizer.learning_rate = 0.002;
    o.optimizer.galore->rank = 16;
    o.steps = 40;
    o.warmup_steps = 2;
    o.evaluate_every = 1;
    o.evaluate_tokens = 1024;
    return o;
  }
  TestFolder folder_;
  std::string tokenizer_;
};

TEST_F(StoriesTraining, FineTuningOnNewTextLowersItsLoss) {
  RunOptions o = fine_tuning();
  o.data.train = {folder_.write("train.txt", of_book("train/persuasion.txt", 200000))};
  o.data.validation = {folder_.write("validation.txt", of_book("validation/northangerabbey.txt", 30000))};
  const RankOutcome run = run_ranks(o, 1, folder_.path() + "/run")[0];
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  // The first rate is 0: the first evaluation is that of the published weights.
  const double before = run.observer.evaluations.front().validation_loss;
  const double after = run.observer.evaluations.back().validation_loss;
  EXPECT_GT(before, 2.0) << "novels are no stories for children";
  EXPECT_LT(after, before - 0.2);
  RecordProperty("before", absl::StrCat(before));
  RecordProperty("after", absl::StrCat(after));
}

TEST_F(StoriesTraining, QuestionsAndAnswersOfGsm8kLowerTheLossOfAnswers) {
  const std::string data = GALLEON_SOURCE_DIR "/../shared/data/gsm8k/train.jsonl";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "no ../shared/data/gsm8k beside the project";
  std::ifstream file(data);
  std::string train;
  std::string validation;
  for (int i = 0; i < 320; ++i) {
    std::string line;
    std::getline(file, line);
    absl::StrAppend(i < 280 ? &train : &validation, line, "\n");
  }
  RunOptions o = fine_tuning();
  o.data.train = {folder_.write("train.jsonl", train)};
  o.data.validation = {folder_.write("validation.jsonl", validation)};
  o.data.format = "chat";
  o.data.chat_template = "preset:plain";
  o.data.sequence_length = 512;
  o.evaluate_tokens = 1024;
  o.steps = 30;
  const RankOutcome run = run_ranks(o, 1, folder_.path() + "/run")[0];
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  const double before = run.observer.evaluations.front().validation_loss;
  const double after = run.observer.evaluations.back().validation_loss;
  EXPECT_LT(after, before - 0.2);
  // Tokens of questions are read and do not count.
  EXPECT_LT(run.observer.evaluations.back().validation_tokens, 2048);
  RecordProperty("before", absl::StrCat(before));
  RecordProperty("after", absl::StrCat(after));
}

}  // namespace
}  // namespace galleon

// The tokens around a document, as a checkpoint was trained: what evaluate, generate and tokenize go by where nobody
// says otherwise.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/worker/engine/labelled_letters.h"
#include "worker/engine/checkpoint/manifest.h"
#include "worker/engine/run/recorded_tokens.h"
#include "worker/trainer/evaluate_command.h"
#include "worker/trainer/text_commands.h"
#include "worker/trainer/tokenize_command.h"

namespace galleon {
namespace {

using testing::HasSubstr;

// Ids of the vocabulary of letters.
constexpr int32_t kClassify = 2;
constexpr int32_t kSeparator = 3;
constexpr int32_t kMask = 4;

class RecordedTokensTest : public testing::Test {
 protected:
  // A decoder on letters, trained on rows with these choices for a document's tokens.
  std::string trained(const std::string& name, const std::string& begin, const std::string& end,
                      const std::string& tokenizer = "") {
    RunOptions o = tiny_run(folder_);
    o.tokenizer = tokenizer.empty() ? letters_model(folder_) : tokenizer;
    o.data.train = {folder_.write("rows.jsonl", rows())};
    o.data.validation = {};
    o.data.begin_token = begin;
    o.data.end_token = end;
    o.steps = 40;
    o.optimizer.learning_rate = 0.02;
    o.checkpoint_folder = folder_.path() + "/" + name;
    const RankOutcome run = run_one(o, folder_.path() + "/out-" + name);
    EXPECT_TRUE(run.result.ok()) << run.result.status();
    return o.checkpoint_folder + "/step-00000040";
  }

  // Each begins with an a and ends with a z.
  static std::string rows() {
    std::string text;
    for (int i = 0; i < 400; ++i) {
      const std::string middle(1, static_cast<char>('b' + i * i % 7));
      absl::StrAppend(&text, "{\"text\": \"a ", middle, " ", middle, " z\"}\n");
    }
    return text;
  }

  double loss(const std::string& model, const std::string& begin, const std::string& end,
              const std::string& tokenizer = "") {
    EvaluateOptions options;
    options.model = model;
    options.tokenizer = tokenizer;
    options.data = {folder_.path() + "/rows.jsonl"};
    options.begin_token = begin;
    options.end_token = end;
    options.sequence_length = 16;
    options.device = "cpu";
    options.json = true;
    testing::internal::CaptureStdout();
    const absl::Status status = evaluate(options);
    const std::string said = testing::internal::GetCapturedStdout();
    EXPECT_TRUE(status.ok()) << status;
    return status.ok() ? nlohmann::json::parse(said.substr(said.find("{"))).at("loss").get<double>() : 0.0;
  }

  std::string text(const std::string& model, const std::string& begin, const std::string& end) {
    GenerateOptions options;
    options.model = model;
    options.begin_token = begin;
    options.end_token = end;
    options.prompt = "";
    options.tokens = 12;
    options.temperature = 0;
    options.device = "cpu";
    testing::internal::CaptureStdout();
    const absl::Status status = generate(options);
    const std::string said = testing::internal::GetCapturedStdout();
    EXPECT_TRUE(status.ok()) << status;
    return said;
  }

  std::string tokens_of(const std::string& tokenizer, const std::string& begin) {
    TokenizeOptions options;
    options.tokenizer = tokenizer;
    options.input = {folder_.path() + "/rows.jsonl"};
    options.begin_token = begin;
    options.output = folder_.path() + "/rows.tokens";
    testing::internal::CaptureStdout();
    const absl::Status status = tokenize(options);
    testing::internal::GetCapturedStdout();
    EXPECT_TRUE(status.ok()) << status;
    return *read_file(options.output);
  }

  TestFolder folder_;
};

TEST_F(RecordedTokensTest, ACheckpointRecordsWhatStoodAroundDocumentsOfText) {
  struct Case {
    const char *name, *begin, *end;
    RecordedTokens recorded;
  };
  for (const Case& c : {Case{"auto", "auto", "auto", {-1, kSeparator}},
                        {"other", "[CLS]", "[MASK]", {kClassify, kMask}},
                        {"nothing", "none", "none", {-1, -1}}}) {
    const absl::StatusOr<CheckpointHeader> header = read_checkpoint_header(trained(c.name, c.begin, c.end));
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->document_tokens, c.recorded) << c.name;
  }
}

TEST_F(RecordedTokensTest, ACheckpointOfLabelledRowsOrTokenFilesRecordsNone) {
  RunOptions rows = classification(folder_);
  rows.steps = 2;
  rows.evaluate_every = 0;
  ASSERT_TRUE(run_one(rows, folder_.path() + "/rows-out").result.ok());
  EXPECT_FALSE(read_checkpoint_header(rows.checkpoint_folder + "/step-00000002")->document_tokens.has_value());
  RunOptions tokens = tiny_run(folder_);
  tokens.tokenizer = "";
  tokens.data.format = "tokens";
  tokens.data.train = {folder_.write("train.tokens", std::string(4000, '\1'))};
  tokens.data.validation = {};
  tokens.steps = 2;
  tokens.checkpoint_folder += "-tokens";
  const RankOutcome run = run_one(tokens, folder_.path() + "/tokens-out");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  EXPECT_FALSE(read_checkpoint_header(tokens.checkpoint_folder + "/step-00000002")->document_tokens.has_value());
}

TEST_F(RecordedTokensTest, TrainingGoesOnAsTheCheckpointThatTheTokenizerComesFrom) {
  const std::string first = trained("other", "[CLS]", "[MASK]");
  EXPECT_EQ(read_checkpoint_header(trained("next", "auto", "auto", first))->document_tokens,
            (RecordedTokens{kClassify, kMask}));
  EXPECT_EQ(read_checkpoint_header(trained("own", "none", "auto", first))->document_tokens,
            (RecordedTokens{-1, kMask}));
}

TEST_F(RecordedTokensTest, EvaluateFeedsTextAsItWasTrainedUnlessToldOtherwise) {
  const std::string model = trained("other", "[CLS]", "[MASK]");
  const double as_trained = loss(model, "[CLS]", "[MASK]");
  EXPECT_EQ(loss(model, "auto", "auto"), as_trained);
  const double otherwise = loss(model, "none", "[SEP]");
  EXPECT_GT(otherwise, as_trained + 0.1);
  // One choice alone leaves the other as it was trained.
  EXPECT_EQ(loss(model, "auto", "[SEP]"), loss(model, "[CLS]", "[SEP]"));
  // A tokenizer that is named goes by its own settings; one that is a checkpoint's as that was trained.
  EXPECT_EQ(loss(model, "auto", "auto", folder_.path() + "/model"), otherwise);
  EXPECT_EQ(loss(model, "auto", "auto", model), as_trained);
}

TEST_F(RecordedTokensTest, GenerateBeginsAndEndsATextAsInTraining) {
  const std::string model = trained("other", "[CLS]", "[MASK]");
  EXPECT_EQ(text(model, "auto", "auto"), text(model, "[CLS]", "[MASK]"));
  EXPECT_THAT(text(model, "auto", "auto"), testing::StartsWith("a")) << "as every document does behind [CLS]";
  EXPECT_THAT(text(model, "auto", "auto"), testing::EndsWith("z\n")) << "where [MASK] ends it";
}

TEST_F(RecordedTokensTest, TokenizeWritesWhatTheCheckpointWasTrainedOn) {
  const std::string model = trained("other", "[CLS]", "[MASK]");
  const std::string as_trained = tokens_of(model, "auto");
  ASSERT_GE(as_trained.size(), 12U);
  EXPECT_EQ(as_trained.substr(0, 2), std::string({kClassify, 0}));
  EXPECT_EQ(as_trained.substr(10, 2), std::string({kMask, 0}));
  EXPECT_EQ(tokens_of(model, "none").substr(8, 2), std::string({kMask, 0}));
  EXPECT_EQ(tokens_of(folder_.path() + "/model", "auto").substr(8, 2), std::string({kSeparator, 0}));
}

TEST_F(RecordedTokensTest, ATokenThatTheTokenizerDoesNotHaveIsDamage) {
  const std::string model = trained("auto", "auto", "auto");
  nlohmann::json manifest = nlohmann::json::parse(*read_file(model + "/manifest.json"));
  const std::unique_ptr<Tokenizer> tokenizer = *open_tokenizer(model);
  struct Case {
    nlohmann::json tokens;
    const char* error;  // empty: accepted
  };
  for (const Case& c :
       std::vector<Case>{{{{"begin", 31}, {"end", 3}}, "document_tokens has 31, and the tokenizer has 31"},
                         {{{"begin", -2}, {"end", 3}}, "document_tokens is damaged: begin is -2"},
                         {{{"begin", 1}}, "manifest.json: document_tokens is damaged"},
                         {"none", "manifest.json: document_tokens is damaged"},
                         {nullptr, ""}}) {
    manifest["document_tokens"] = c.tokens;
    ASSERT_TRUE(write_file_atomically(model + "/manifest.json", manifest.dump()).ok());
    const absl::Status status = use_recorded_tokens(model, *tokenizer);
    EXPECT_EQ(status.ok(), c.error[0] == '\0') << c.tokens;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.error));
  }
  ASSERT_TRUE(write_file_atomically(model + "/manifest.json", "{\"name\": \"of another program\"}").ok());
  EXPECT_TRUE(use_recorded_tokens(model, *tokenizer).ok());
}

}  // namespace
}  // namespace galleon

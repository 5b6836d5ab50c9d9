// `galleon evaluate` on a published model, where that is beside the project, and on token files.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/worker/engine/run_support.h"
#include "tests/worker/engine/stories_tokenizer.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/trainer/evaluate_command.h"

namespace galleon {
namespace {

const std::string kStories = GALLEON_SOURCE_DIR "/../shared/data/models/stories260K";
const std::string kStoriesText = GALLEON_SOURCE_DIR "/../shared/data/lm/tinystories.txt";

class Evaluate : public testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& path : {kStories, kStoriesText})
      if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
    options_.model = kStories;
    options_.tokenizer = folder_.write("tok512.model", sentencepiece_model_of(*read_file(kStories + "/tok512.bin")));
    if (absl::IsUnavailable(open_tokenizer(options_.tokenizer).status())) GTEST_SKIP() << "no SentencePiece";
    std::string lines;
    const std::string text = *read_file(kStoriesText);
    const std::vector<std::string> stories = absl::StrSplit(text, "<|endoftext|>");
    for (size_t s = 0; s < 60; ++s)
      lines += nlohmann::json{{"text", std::string(absl::StripAsciiWhitespace(stories[s]))}}.dump() + "\n";
    options_.data = {folder_.write("stories.jsonl", lines)};
    options_.sequence_length = 512;
    options_.device = "cpu";
    options_.json = true;
  }

  double nats(bool packing, const std::string& begin, const std::string& end) {
    options_.packing = packing;
    options_.begin_token = begin;
    options_.end_token = end;
    testing::internal::CaptureStdout();
    const absl::Status status = evaluate(options_);
    const std::string said = testing::internal::GetCapturedStdout();
    EXPECT_TRUE(status.ok()) << status;
    return status.ok() ? nlohmann::json::parse(said.substr(said.find("{"))).at("loss").get<double>() : 0.0;
  }

  TestFolder folder_;
  EvaluateOptions options_;
};

// The model was trained with the begin token before each story and nothing behind it, as Llama reads a text.
TEST_F(Evaluate, TheTokensAroundADocumentAreThoseOfTheTokenizerUnlessToldOtherwise) {
  EXPECT_NEAR(nats(false, "auto", "auto"), 1.3552, 1e-4);  // golden.json
  EXPECT_NEAR(nats(true, "auto", "auto"), 1.3813, 1e-4);
  EXPECT_NEAR(nats(false, "none", "</s>"), 1.4358, 1e-4);
  EXPECT_NEAR(nats(true, "none", "</s>"), 1.7854, 1e-4);
}

// Ids as a token file has them.
std::string ids_of(int count, int width) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    const int id = 7 + i * i % 200;  // of 16 bits, two make a number of 32 that is large
    bytes.push_back(static_cast<char>(id));
    bytes.append(static_cast<size_t>(width) - 1, '\0');
  }
  return bytes;
}

TEST(EvaluateTokens, NeedNoTokenizerAndSayWhenTheirIdsAreOfAnotherWidth) {
  for (const int64_t vocabulary : {300, 66000}) {
    const int width = vocabulary > 65536 ? 4 : 2;
    TestFolder folder;
    RunOptions o = tiny_run(folder);
    o.tokenizer = "";
    o.model.overrides = {{"vocab_size", absl::StrCat(vocabulary)}};
    o.data.format = "tokens";
    o.data.train = {folder.write("train.tokens", ids_of(400, width))};
    o.data.validation = {};
    o.evaluate_every = 0;
    o.steps = 1;
    o.optimizer.galore.reset();
    ASSERT_TRUE(run_one(o, folder.path()).result.ok());

    EvaluateOptions options;
    options.model = o.checkpoint_folder + "/step-00000001";
    options.data = o.data.train;
    options.format = "tokens";
    options.sequence_length = 32;
    options.device = "cpu";
    options.json = true;
    testing::internal::CaptureStdout();
    const absl::Status status = evaluate(options);
    const std::string said = testing::internal::GetCapturedStdout();
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(nlohmann::json::parse(said.substr(said.find('{'))).at("tokens").get<int64_t>(), 12 * 32);

    options.tokenizer = "bytes";
    EXPECT_THAT(std::string(evaluate(options).message()),
                testing::HasSubstr("--tokenizer contradicts --format tokens"));
    options.tokenizer = "";
    if (width == 2) continue;
    const struct {
      const char* name;
      int count;
      const char* error;
    } cases[] = {
        {"even.tokens", 400, "at position 0 does not fit the vocabulary of 66000; it may hold 16-bit ids"},
        {"odd.tokens", 401, "is not a whole number of 32-bit ids, which a vocabulary of 66000 has; it may hold 16-bit"},
    };
    for (const auto& c : cases) {
      options.data = {folder.write(c.name, ids_of(c.count, 2))};
      EXPECT_THAT(std::string(evaluate(options).message()), testing::HasSubstr(c.error));
      o.data.train = options.data;
      o.checkpoint_folder = folder.path() + "/other";
      EXPECT_THAT(std::string(run_one(o, folder.path() + "/other").result.status().message()),
                  testing::HasSubstr(c.error));
    }
  }
}

}  // namespace
}  // namespace galleon

// `galleon evaluate` on a published model, where that is beside the project.
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

}  // namespace
}  // namespace galleon

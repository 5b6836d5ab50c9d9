// Tokenizers of every kind beside the package `tokenizers`: ids recorded by tests/fixtures/make_tokenizers.py.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/model/end_tokens.h"

namespace galleon {
namespace {

const nlohmann::ordered_json& recorded() {
  static const auto* json = new nlohmann::ordered_json(
      nlohmann::ordered_json::parse(std::ifstream(GALLEON_SOURCE_DIR "/tests/fixtures/tokenizers.json")));
  return *json;
}

class TokenizerKinds : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const nlohmann::ordered_json& kind = recorded().at("kinds").at(GetParam());
    folder_.write("tokenizer_config.json",
                  GetParam().substr(0, 4) == "bert" ? R"({"eos_token": "[SEP]"})" : R"({"eos_token": "</s>"})");
    absl::StatusOr<std::unique_ptr<Tokenizer>> opened =
        open_tokenizer(folder_.write("tokenizer.json", kind.at("tokenizer").dump()));
    ASSERT_TRUE(opened.ok()) << opened.status();
    tokenizer_ = *std::move(opened);
  }

  TestFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(TokenizerKinds, GiveTheIdsOfThePackage) {
  const nlohmann::ordered_json& ids = recorded().at("kinds").at(GetParam()).at("ids");
  const nlohmann::ordered_json& texts = recorded().at("texts");
  ASSERT_EQ(ids.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    std::vector<int32_t> found;
    tokenizer_->encode(texts[i].get<std::string>(), found);
    EXPECT_EQ(found, ids[i].get<std::vector<int32_t>>()) << texts[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerKinds,
                         testing::Values("gpt2", "roberta", "llama3", "unigram_always", "unigram_first",
                                         "unigram_never", "t5", "llama", "gemma", "llama_metaspace", "bert",
                                         "bert_cased", "bert_accents", "clip"),
                         [](const auto& kind) { return kind.param; });

// A checkpoint is a folder that goes on as the one it came from: the same ids, the same ends.
TEST(TokenizerKind, ACheckpointCarriesTheFilesOfItsFolderAsTheyAre) {
  const TestFolder folder;
  const std::string source = folder.path() + "/source";
  ASSERT_TRUE(make_folders(source).ok());
  const std::pair<std::string, std::string> files[] = {
      {"tokenizer.json", recorded().at("kinds").at("gpt2").at("tokenizer").dump()},
      {"tokenizer_config.json", R"({"eos_token": "</s>", "model_max_length": 4096})"},
      {"special_tokens_map.json", R"({"eos_token": "</s>"})"},
      {"generation_config.json", "{\"eos_token_id\": [2, 1],\n \"temperature\": 0.6}\n"},
  };
  for (const auto& [name, text] : files) folder.write("source/" + name, text);
  RunOptions options = tiny_run(folder);
  options.tokenizer = source;
  options.steps = 2;
  options.warmup_steps = 0;
  const RankOutcome outcome = run_one(options, folder.path() + "/out");
  ASSERT_TRUE(outcome.result.ok()) << outcome.result.status();
  for (const auto& [name, text] : files) {
    const absl::StatusOr<std::string> kept = read_file(options.checkpoint_folder + "/step-00000002/" + name);
    ASSERT_TRUE(kept.ok()) << kept.status();
    EXPECT_EQ(*kept, text) << name;
  }
  const auto ends = end_tokens_of_folder(options.checkpoint_folder + "/step-00000002");
  ASSERT_TRUE(ends.ok()) << ends.status();
  EXPECT_EQ(*ends, (std::vector<int32_t>{2, 1}));
}

TEST(TokenizerKind, AllThatAreRecordedAreTried) {
  EXPECT_EQ(recorded().at("kinds").size(), 14U);
}

}  // namespace
}  // namespace galleon

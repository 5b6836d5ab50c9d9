// `galleon generate` on folders, and text that comes out in whole characters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/strip.h"
#include "tests/worker/engine/reference_support.h"
#include "tests/worker/engine/run_support.h"
#include "tests/worker/engine/stories_tokenizer.h"
#include "worker/engine/model/model_parameters.h"
#include "worker/trainer/text_commands.h"
#include "worker/trainer/text_stream.h"

namespace galleon {
namespace {

using testing::HasSubstr;

struct Outcome {
  absl::Status status;
  std::string text;
};

Outcome generated(const GenerateOptions& options) {
  testing::internal::CaptureStdout();
  Outcome outcome;
  outcome.status = generate(options);
  outcome.text = testing::internal::GetCapturedStdout();
  return outcome;
}

class Generate : public testing::Test {
 protected:
  // A small random model on bytes, in Hugging Face's layout.
  std::string write_model(const std::string& name, const std::string& config,
                          const std::function<void(std::vector<TensorToWrite>&)>& change = {}) {
    const std::string folder = folder_.path() + "/" + name;
    EXPECT_TRUE(make_folders(folder).ok());
    EXPECT_TRUE(write_file_atomically(folder + "/config.json", config).ok());
    absl::StatusOr<ModelConfig> parsed = model_config_from_json(config, "test", {});
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    std::vector<TensorToWrite> tensors;
    std::mt19937_64 random(5);
    for (const Parameter& p : model_parameters(*parsed, std::nullopt)) {
      std::vector<float> values(p.out * p.in);
      for (float& v : values) v = std::normal_distribution<float>(0.0F, 0.2F)(random);
      tensors.push_back({p.name,
                         p.vector ? std::vector<int64_t>{p.out} : std::vector<int64_t>{p.out, p.in},
                         [values] { return values; },
                         "F32",
                         {}});
    }
    if (change) change(tensors);
    EXPECT_TRUE(write_safetensors(folder + "/model.safetensors", tensors, {}).ok());
    return folder;
  }
  TestFolder folder_;
};

const std::string kDecoder =
    R"({"model_type":"qwen2","vocab_size":257,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,
    "num_attention_heads":2,"num_key_value_heads":1,"max_position_embeddings":64})";

TEST_F(Generate, ASeedGivesTheSameTextAndAnotherAnother) {
  GenerateOptions options;
  options.model = write_model("bytes", kDecoder);
  options.prompt = "sea ";
  options.tokens = 30;
  const Outcome first = generated(options);
  ASSERT_TRUE(first.status.ok()) << first.status;
  EXPECT_TRUE(first.text.starts_with("sea ")) << first.text;
  EXPECT_GT(first.text.size(), 20U);
  EXPECT_EQ(generated(options).text, first.text);
  options.seed = 7;
  EXPECT_NE(generated(options).text, first.text);
  options.tokens = 200;
  EXPECT_TRUE(generated(options).status.ok()) << "beyond the positions of the model";
  options.tokens = 0;
  EXPECT_EQ(generated(options).text, "sea \n");
}

TEST_F(Generate, AFolderThatDoesNotFitIsRefusedInOneSentence) {
  GenerateOptions options;
  options.model = folder_.path() + "/none";
  EXPECT_THAT(std::string(generated(options).status.message()), HasSubstr("none/config.json"));
  options.model = write_model("encoder", R"({"model_type":"bert","vocab_size":257,"hidden_size":16,
      "intermediate_size":24,"num_hidden_layers":1,"num_attention_heads":2})");
  EXPECT_THAT(std::string(generated(options).status.message()), HasSubstr("holds a bert that classifies"));
  options.model = write_model("no-tokenizer", R"({"model_type":"llama","vocab_size":300,"hidden_size":16,
      "intermediate_size":24,"num_hidden_layers":1,"num_attention_heads":2})");
  EXPECT_THAT(std::string(generated(options).status.message()), HasSubstr("name one with --tokenizer"));
  options.tokenizer = "bytes";
  EXPECT_TRUE(generated(options).status.ok()) << "more rows than the tokenizer has tokens";
  options.model = write_model("small", R"({"model_type":"llama","vocab_size":200,"hidden_size":16,
      "intermediate_size":24,"num_hidden_layers":1,"num_attention_heads":2})");
  EXPECT_THAT(std::string(generated(options).status.message()),
              HasSubstr("bytes has 257 pieces, and the model's vocab_size is 200"));
  options.model = write_model("misshapen", kDecoder, [](std::vector<TensorToWrite>& tensors) {
    tensors[1].shape = {8, 32};
  });
  EXPECT_THAT(std::string(generated(options).status.message()),
              HasSubstr("model.layers.0.self_attn.q_proj.weight has shape 8x32; the model needs 16x16"));
  options.model = folder_.path() + "/adapter";
  ASSERT_TRUE(make_folders(options.model).ok());
  folder_.write("adapter/adapter_config.json", R"({"base_model_name_or_path": "some/base"})");
  EXPECT_THAT(std::string(generated(options).status.message()),
              HasSubstr("adapter holds an adapter (adapter_config.json), which peft puts on some/base; merge it"));
}

TEST_F(Generate, TheMostProbableStoryIsThatOfTheGoldenIds) {
  const std::string stories = GALLEON_SOURCE_DIR "/../shared/data/models/stories260K";
  if (!std::filesystem::exists(stories)) GTEST_SKIP() << "no " << stories;
  const nlohmann::json golden = nlohmann::json::parse(std::ifstream(stories + "/golden.json"));
  GenerateOptions options;
  options.model = stories;
  options.tokenizer = folder_.write("tok512.model", sentencepiece_model_of(*read_file(stories + "/tok512.bin")));
  options.tokens = 100;
  options.temperature = 0;
  const Outcome outcome = generated(options);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  auto ids = golden["greedy_100_ids"].get<std::vector<int32_t>>();
  ids.erase(ids.begin());
  EXPECT_EQ(absl::StripAsciiWhitespace(outcome.text),
            absl::StripAsciiWhitespace((*open_tokenizer(options.tokenizer))->decode(ids)));
  EXPECT_THAT(outcome.text, HasSubstr("Once upon a time"));
}

TEST(TextStream, CharactersComeWholeAndTogetherTheyAreTheText) {
  const std::unique_ptr<Tokenizer> tokenizer = *open_tokenizer("bytes");
  const std::string text = "naïve ∑ 🚢 end";
  std::vector<int32_t> ids;
  tokenizer->encode(text, ids);
  TextStream stream(*tokenizer);
  std::string told;
  for (const int32_t id : ids) {
    const std::string piece = stream.add({id});
    // A piece begins and ends where a character does.
    EXPECT_TRUE(piece.empty() || (static_cast<unsigned char>(piece[0]) & 0xC0U) != 0x80U);
    told += piece;
  }
  EXPECT_EQ(told + stream.finish(), text);
}

TEST(TextStream, WhatNeverBecomesACharacterIsNotHeldBackForever) {
  const std::unique_ptr<Tokenizer> tokenizer = *open_tokenizer("bytes");
  TextStream stream(*tokenizer);
  std::string told;
  for (int i = 0; i < 20; ++i) told += stream.add({0xC3});
  EXPECT_GE(told.size(), 8U);
  told += stream.finish();
  EXPECT_EQ(told.size(), 20U);
}

TEST(TextStream, PiecesAreTheTextOfTokensInTheirContext) {
  const std::string stories = GALLEON_SOURCE_DIR "/../shared/data/models/stories260K";
  if (!std::filesystem::exists(stories)) GTEST_SKIP() << "no " << stories;
  TestFolder folder;
  const std::string path = folder.write("tok512.model", sentencepiece_model_of(*read_file(stories + "/tok512.bin")));
  const std::unique_ptr<Tokenizer> tokenizer = *open_tokenizer(path);
  const std::string text = "Once upon a time there was a ship — its name was “Ægir”. \nIt sailed.";
  std::vector<int32_t> ids;
  tokenizer->encode(text, ids);
  TextStream stream(*tokenizer);
  std::string told;
  for (const int32_t id : ids) told += stream.add({id});
  EXPECT_EQ(told + stream.finish(), tokenizer->decode(ids));
}

}  // namespace
}  // namespace galleon

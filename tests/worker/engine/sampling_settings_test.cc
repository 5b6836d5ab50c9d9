#include "worker/engine/model/sampling_settings.h"

#include <gtest/gtest.h>

#include "tests/worker/engine/run_support.h"

namespace galleon {
namespace {

SamplingSettings settings_of(const std::string& text) {
  const TestFolder folder;
  folder.write("generation_config.json", text);
  const absl::StatusOr<SamplingSettings> settings = sampling_settings(folder.path());
  EXPECT_TRUE(settings.ok()) << settings.status();
  return settings.value_or(SamplingSettings());
}

TEST(SamplingSettings, AFolderThatSaysNothingSetsNothing) {
  const TestFolder folder;
  const absl::StatusOr<SamplingSettings> none = sampling_settings(folder.path());
  ASSERT_TRUE(none.ok()) << none.status();
  for (const SamplingSettings& found : {*none, settings_of(R"({"bos_token_id": 1, "eos_token_id": [2, 3]})")}) {
    EXPECT_FALSE(found.temperature.has_value() || found.top_p.has_value() || found.top_k.has_value() ||
                 found.repetition_penalty.has_value());
    EXPECT_EQ(found.unread, "");
  }
}

// Llama 3.2's, Qwen 2.5's and GPT-2's way to say it.
TEST(SamplingSettings, ValuesAreThoseOfTheFile) {
  const SamplingSettings llama = settings_of(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9})");
  EXPECT_EQ(llama.temperature, 0.6);
  EXPECT_EQ(llama.top_p, 0.9);
  EXPECT_EQ(llama.top_k, 50) << "as transformers does where it draws";
  EXPECT_FALSE(llama.repetition_penalty.has_value());
  const SamplingSettings qwen =
      settings_of(R"({"do_sample": true, "repetition_penalty": 1.05, "temperature": 0.7, "top_p": 0.8, "top_k": 20})");
  EXPECT_EQ(qwen.top_k, 20);
  EXPECT_EQ(qwen.repetition_penalty, 1.05);
  EXPECT_EQ(settings_of(R"({"do_sample": false, "temperature": 0.7})").temperature, 0.0);
  EXPECT_EQ(settings_of(R"({"temperature": 0.7})").temperature, 0.7);
  EXPECT_EQ(settings_of(R"({"do_sample": true})").temperature, 1.0);
}

TEST(SamplingSettings, WhatIsNotReadIsNamed) {
  EXPECT_EQ(settings_of(R"({"num_beams": 4, "min_p": 0.1, "no_repeat_ngram_size": 3})").unread,
            "num_beams, min_p and no_repeat_ngram_size");
  EXPECT_EQ(settings_of(R"({"num_beams": 1, "min_p": null, "typical_p": 1.0, "length_penalty": 1.0,
                            "bad_words_ids": []})")
                .unread,
            "");
  EXPECT_EQ(settings_of(R"({"suppress_tokens": [7]})").unread, "suppress_tokens");
}

TEST(SamplingSettings, WhatCannotBeIsRefusedByName) {
  for (const auto& [text, message] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"temperature": -1})", "temperature is -1"},
           {R"({"temperature": "hot"})", "temperature is \"hot\""},
           {R"({"top_p": 1.5})", "top_p is 1.5"},
           {R"({"top_k": -3})", "top_k is -3"},
           {R"({"repetition_penalty": 0})", "repetition_penalty is 0"},
           {R"({"do_sample": "yes"})", "do_sample is \"yes\""},
           {"[1]", "is not a JSON object"},
       }) {
    const TestFolder folder;
    folder.write("generation_config.json", text);
    const absl::Status status = sampling_settings(folder.path()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(status.message().find(message), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace galleon

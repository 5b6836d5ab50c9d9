// What tokenizer_config.json and special_tokens_map.json ask for is done or refused by name, for each kind of files.
#include <nlohmann/json.hpp>

#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/data/tokenizers/byte_pair.h"

namespace galleon {
namespace {

using testing::HasSubstr;

class TokenizerSettings : public testing::Test {
 protected:
  void SetUp() override {
    // WordPiece, byte pairs, SentencePiece and tokenizer.json, each in a folder of its own.
    for (const char* kind : {"words", "pairs", "pieces", "json"})
      ASSERT_TRUE(make_folders(absl::StrCat(folder_.path(), "/", kind)).ok());
    folder_.write("words/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n<extra>\n");
    nlohmann::json bytes = {{"<s>", 256}, {"</s>", 257}, {"<extra>", 258}};
    for (int b = 0; b < 256; ++b) bytes[byte_character(static_cast<uint8_t>(b))] = b;
    folder_.write("pairs/vocab.json", bytes.dump());
    folder_.write("pairs/merges.txt", "#version: 0.2\n");
    folder_.write("pieces/tokenizer.model",
                  *read_file(GALLEON_SOURCE_DIR "/deploy/examples/janeausten/tokenizer.model"));
    folder_.write("json/tokenizer.json", R"({"added_tokens": [{"id": 3, "content": "</s>", "special": true}],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1, "<extra>": 2, "</s>": 3}, "unk_token": "[UNK]",
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}})");
  }

  absl::StatusOr<std::unique_ptr<Tokenizer>> open(const std::string& kind, const std::string& config,
                                                  const std::string& map = "{}") {
    folder_.write(kind + "/tokenizer_config.json", config);
    folder_.write(kind + "/special_tokens_map.json", map);
    return open_tokenizer(absl::StrCat(folder_.path(), "/", kind));
  }

  TestFolder folder_;
};

TEST_F(TokenizerSettings, WhatAsksForOtherIdsIsRefusedByNameAndWhatDoesNotIsTaken) {
  struct Case {
    const char *kind, *config;
    const char* error;  // empty: it is taken
  };
  for (const Case& c :
       {Case{"pieces", R"({"sp_model_kwargs": {}})", ""},
        {"pieces", R"({"sp_model_kwargs": null})", ""},
        {"pieces", R"({"sp_model_kwargs": {"enable_sampling": false, "nbest_size": -1, "alpha": 0.1}})", ""},
        {"pieces", R"({"sp_model_kwargs": {"enable_sampling": true, "nbest_size": -1, "alpha": 0.1}})",
         "sp_model_kwargs.enable_sampling: true is not available"},
        {"pieces", R"({"sp_model_kwargs": {"reverse": true}})", "sp_model_kwargs.reverse: true is not available"},
        {"pieces", R"({"sp_model_kwargs": {"enable_sampling": 1}})", "sp_model_kwargs.enable_sampling: 1"},
        {"pieces", R"({"sp_model_kwargs": {"out_type": "str"}})", "sp_model_kwargs.out_type"},
        {"pieces", R"({"sp_model_kwargs": [1]})", "sp_model_kwargs is not a JSON object"},
        {"json", R"({"sp_model_kwargs": {"enable_sampling": true}})", "sp_model_kwargs.enable_sampling"},
        {"pieces", R"({"tokenizer_class": "LlamaTokenizerFast"})", ""},
        {"pieces", R"({"tokenizer_class": "XLMRobertaTokenizer"})",
         "how a XLMRobertaTokenizer cuts text does not stand in a SentencePiece model"},
        {"pieces", R"({"do_lower_case": true})", "do_lower_case: true is not available for a SentencePiece model"},
        {"pieces", R"({"do_lower_case": false, "keep_accents": true})", ""},
        {"pieces", R"({"keep_accents": false})", "keep_accents: false is not available for a SentencePiece model"},
        {"pairs", R"({"do_lower_case": true})", "do_lower_case: true is not available for vocab.json and merges.txt"},
        {"pairs", R"({"do_lower_case": false})", ""},
        {"words", R"({"do_lower_case": true})", ""},
        {"words", R"({"split_special_tokens": true})", "split_special_tokens: true is not available"},
        {"pairs", R"({"split_special_tokens": "no"})", "split_special_tokens: \"no\"; true or false is accepted"},
        {"json", R"({"split_special_tokens": false})", ""},
        // Nothing of these changes an id.
        {"words", R"({"model_max_length": 512, "padding_side": "left", "clean_up_tokenization_spaces": true})", ""}}) {
    SCOPED_TRACE(absl::StrCat(c.kind, " ", c.config));
    const absl::Status status = open(c.kind, c.config).status();
    if (absl::IsUnavailable(status)) continue;  // no SentencePiece here
    EXPECT_EQ(status.ok(), c.error[0] == '\0') << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.error));
    if (!status.ok()) {
      EXPECT_THAT(std::string(status.message()), HasSubstr("/tokenizer_config.json: "));
    }
  }
}

TEST_F(TokenizerSettings, FurtherSpecialTokensAreFoundInATextOrRefusedWhereNoFileGivesThemAnId) {
  for (const char* kind : {"words", "pairs", "json"}) {
    SCOPED_TRACE(kind);
    for (const char* settings : {R"({"additional_special_tokens": ["<extra>"]})",
                                 R"({"extra_special_tokens": {"image": {"content": "<extra>"}}})"}) {
      for (const bool in_map : {false, true}) {
        const auto tokenizer = open(kind, in_map ? "{}" : settings, in_map ? settings : "{}");
        ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
        std::vector<int32_t> ids;
        (*tokenizer)->encode("a<extra>a", ids);
        ASSERT_EQ(ids.size(), 3U) << settings;
        EXPECT_EQ((*tokenizer)->token_of("<extra>"), ids[1]);
      }
    }
  }
  for (const char* kind : {"words", "pairs", "json", "pieces"}) {
    const absl::Status status = open(kind, "{}", R"({"additional_special_tokens": ["<none>"]})").status();
    if (absl::IsUnavailable(status)) continue;
    EXPECT_THAT(std::string(status.message()), HasSubstr("the special token \"<none>\" has no id")) << kind;
  }
  EXPECT_THAT(std::string(open("words", R"({"additional_special_tokens": "<extra>"})").status().message()),
              HasSubstr("additional_special_tokens is neither a list nor a JSON object"));
  EXPECT_THAT(std::string(open("words", R"({"additional_special_tokens": [3]})").status().message()),
              HasSubstr("additional_special_tokens has 3, which is no token"));
}

}  // namespace
}  // namespace galleon

// Tokenizers of Hugging Face's files against golden ids of the original programs, where the data is beside the project,
// and against small vocabularies written out here.
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/data/tokenizers/byte_pair.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {
namespace {

constexpr const char* kData = GALLEON_SOURCE_DIR "/../shared/data/tokenizers";

std::string content(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

using Ids = std::vector<int32_t>;

Ids encode(const Tokenizer& tokenizer, absl::string_view text) {
  Ids ids;
  tokenizer.encode(text, ids);
  return ids;
}

// Texts lie between separator lines in NAME.inp, their ids one line each in NAME.out.
void expect_golden(const Tokenizer& tokenizer, const std::string& name) {
  const std::string inputs = content(absl::StrCat(kData, "/vectors/", name, ".inp"));
  const std::string outputs = content(absl::StrCat(kData, "/vectors/", name, ".out"));
  const std::vector<std::string> texts = absl::StrSplit(inputs, "\n__ggml_vocab_test__\n");
  const std::vector<std::string> lines = absl::StrSplit(outputs, '\n');
  ASSERT_GE(texts.size(), 40U);
  ASSERT_GE(lines.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    Ids expected;
    std::istringstream numbers(lines[i]);
    for (int32_t id = 0; numbers >> id;) expected.push_back(id);
    EXPECT_EQ(encode(tokenizer, texts[i]), expected) << name << " text " << i << ": \"" << texts[i] << "\"";
  }
}

class Golden : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kData)) GTEST_SKIP() << "no ../shared/data/tokenizers beside the project";
  }
};

TEST_F(Golden, RobertaFolder) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(absl::StrCat(kData, "/roberta"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary(), 50265);
  EXPECT_EQ((*tokenizer)->special().classify, 0);
  EXPECT_EQ((*tokenizer)->special().padding, 1);
  EXPECT_EQ((*tokenizer)->end_token(), 2);
  EXPECT_EQ((*tokenizer)->special().mask, 50264);
  expect_golden(**tokenizer, "roberta-bpe");
  for (const char* text : {"Hello, world!", "  two  spaces\n\tand \xF0\x9F\xA6\x99 more", "na\xC3\xAFve"})
    EXPECT_EQ((*tokenizer)->decode(encode(**tokenizer, text)), text);
}

TEST_F(Golden, Gpt2MadeFromItsMerges) {
  // GPT-2 numbers its symbols by bytes in the order of their characters, then by merges; its merges are RoBERTa's.
  TestFolder folder;
  const std::string merges = content(absl::StrCat(kData, "/roberta/merges.txt"));
  std::vector<std::pair<int32_t, int>> order;
  for (int b = 0; b < 256; ++b) {
    const std::string character = byte_character(static_cast<uint8_t>(b));
    size_t at = 0;
    order.emplace_back(next_code_point(character, at), b);
  }
  std::sort(order.begin(), order.end());
  nlohmann::json vocabulary = nlohmann::json::object();
  int32_t id = 0;
  for (const auto& [code_point, byte] : order) vocabulary[byte_character(static_cast<uint8_t>(byte))] = id++;
  for (absl::string_view line : absl::StrSplit(merges, '\n')) {
    if (line.empty() || absl::StartsWith(line, "#version")) continue;
    const std::vector<std::string> parts = absl::StrSplit(line, ' ');
    vocabulary[parts[0] + parts[1]] = id++;
  }
  vocabulary["<|endoftext|>"] = id;
  folder.write("vocab.json", vocabulary.dump());
  folder.write("merges.txt", merges);
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->end_token(), 50256);
  expect_golden(**tokenizer, "gpt-2");
}

TEST_F(Golden, BertWordPiece) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(absl::StrCat(kData, "/bert-uncased"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary(), 30522);
  EXPECT_EQ((*tokenizer)->special().classify, 101);
  EXPECT_EQ((*tokenizer)->special().separator, 102);
  expect_golden(**tokenizer, "bert-bge");
}

// The vocabularies of Llama 3 and Qwen2 as published, 128,000 and 151,643 tokens.
class GoldenPublished : public Golden {
 protected:
  void open(const std::string& name) {
    const std::string folder = absl::StrCat(GALLEON_BINARY_DIR, "/../tools/", name);
    if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder << ": tests/models.sh fetches it";
    absl::StatusOr<std::unique_ptr<Tokenizer>> opened = open_tokenizer(folder);
    ASSERT_TRUE(opened.ok()) << opened.status();
    tokenizer_ = *std::move(opened);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(GoldenPublished, Llama3) {
  open("llama3");
  if (tokenizer_ == nullptr) return;
  EXPECT_EQ(tokenizer_->vocabulary(), 128256);
  EXPECT_EQ(tokenizer_->end_token(), 128001);
  expect_golden(*tokenizer_, "llama-bpe");
  const std::string turn = "<|start_header_id|>user<|end_header_id|>\n\nna\xC3\xAFve \xF0\x9F\xA6\x99 12345<|eot_id|>";
  const Ids ids = encode(*tokenizer_, turn);
  EXPECT_EQ(ids.front(), 128006);
  EXPECT_EQ(ids.back(), 128009);
}

TEST_F(GoldenPublished, Qwen2) {
  open("qwen2");
  if (tokenizer_ == nullptr) return;
  EXPECT_EQ(tokenizer_->end_token(), 151643);
  expect_golden(*tokenizer_, "qwen2");
  const Ids ids = encode(*tokenizer_, "<|im_start|>user\n12345<|im_end|>");
  EXPECT_EQ(ids.front(), 151644);
  EXPECT_EQ(ids.back(), 151645);
  EXPECT_EQ(ids.size(), 9U);  // each digit a token
}

TEST_F(Golden, LlamaSentencePiece) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(absl::StrCat(kData, "/llama"));
  if (absl::IsUnavailable(tokenizer.status())) GTEST_SKIP() << tokenizer.status().message();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  expect_golden(**tokenizer, "llama-spm");
}

// A tokenizer.json with all bytes and a few merges.
nlohmann::json small_json() {
  nlohmann::json vocabulary = nlohmann::json::object();
  for (int b = 0; b < 256; ++b) vocabulary[byte_character(static_cast<uint8_t>(b))] = b;
  int id = 256;
  nlohmann::json merges = nlohmann::json::array();
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{
           {"t", "h"}, {"th", "e"}, {"\xC4\xA0", "the"}, {"1", "2"}, {"12", "3"}, {"123", "4"}}) {
    vocabulary[left + right] = id++;
    merges.push_back(left + " " + right);
  }
  return {{"added_tokens", {{{"id", 300}, {"content", "<|end|>"}, {"special", true}}}},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern", {{"Regex", R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+)"}}},
               {"behavior", "Isolated"}},
              {{"type", "ByteLevel"}, {"use_regex", false}}}}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}}};
}

absl::StatusOr<std::unique_ptr<Tokenizer>> open_json(const TestFolder& folder, const nlohmann::json& json) {
  folder.write("tokenizer_config.json", R"({"eos_token": {"content": "<|end|>"}})");
  return open_tokenizer(folder.write("tokenizer.json", json.dump()));
}

TEST(TokenizerJson, SplitsNormalisesMergesAndKnowsItsAddedTokens) {
  TestFolder folder;
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_json(folder, small_json());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary(), 301);
  EXPECT_EQ((*tokenizer)->end_token(), 300);
  EXPECT_EQ(encode(**tokenizer, "the the"), (Ids{257, 258}));
  EXPECT_EQ(encode(**tokenizer, "1234"), (Ids{260, '4'})) << "numbers are cut after three digits";
  EXPECT_EQ(encode(**tokenizer, "the<|end|>the"), (Ids{257, 300, 257}));
  // e and a combining acute become one letter, which is two bytes.
  EXPECT_EQ(encode(**tokenizer, "e\xCC\x81"), (Ids{0xC3, 0xA9}));
  EXPECT_EQ((*tokenizer)->decode({257, 300, 258}), "the the");
  // Broken UTF-8: U+FFFD, three bytes, stands for what cannot be read.
  EXPECT_EQ(encode(**tokenizer,
                   "a\xFF"
                   "b"),
            (Ids{'a', 0xEF, 0xBF, 0xBD, 'b'}));
}

TEST(TokenizerJson, AWholePieceOfTheVocabularyCanGoBeforeMerges) {
  TestFolder folder;
  nlohmann::json json = small_json();
  json["model"]["vocab"]["xyz"] = 290;
  absl::StatusOr<std::unique_ptr<Tokenizer>> merged = open_json(folder, json);
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ(encode(**merged, "xyz"), (Ids{'x', 'y', 'z'}));
  json["model"]["ignore_merges"] = true;
  absl::StatusOr<std::unique_ptr<Tokenizer>> whole = open_json(folder, json);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(encode(**whole, "xyz"), (Ids{290}));
}

TEST(TokenizerJson, ALongPieceIsMergedAsAShortOneIs) {
  TestFolder folder;
  nlohmann::json json = small_json();
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"use_regex", false}};
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_json(folder, json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::string text;
  Ids expected;
  for (int i = 0; i < 300; ++i) {
    text += i % 3 == 0 ? " the" : i % 3 == 1 ? "1234" : "q";
    expected.push_back(i % 3 == 0 ? 258 : i % 3 == 1 ? 261 : 'q');
  }
  EXPECT_EQ(encode(**tokenizer, text), expected);
}

TEST(TokenizerJson, CharactersFallBackToBytesInSentencePieceVocabularies) {
  TestFolder folder;
  nlohmann::json vocabulary = {{"<unk>", 0}, {"</s>", 1}, {"\xE2\x96\x81", 2},   {"h", 3},
                               {"i", 4},     {"hi", 5},   {"\xE2\x96\x81hi", 6}, {"<|end|>", 7}};
  for (int b = 0; b < 256; ++b) vocabulary[absl::StrFormat("<0x%02X>", b)] = 10 + b;
  const nlohmann::json json = {
      {"added_tokens", {{{"id", 1}, {"content", "</s>"}, {"special", true}}}},
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers",
         {{{"type", "Prepend"}, {"prepend", "\xE2\x96\x81"}},
          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\xE2\x96\x81"}}}}}},
      {"pre_tokenizer", nullptr},
      {"model",
       {{"type", "BPE"},
        {"vocab", vocabulary},
        {"merges", nlohmann::json::parse(R"([["h", "i"], ["\u2581", "hi"]])")},
        {"byte_fallback", true},
        {"unk_token", "<unk>"}}}};
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_json(folder, json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(encode(**tokenizer, "hi hi\xC3\xA9"), (Ids{6, 6, 10 + 0xC3, 10 + 0xA9}));
  EXPECT_EQ((*tokenizer)->decode({6, 6, 10 + 0xC3, 10 + 0xA9}), "hi hi\xC3\xA9");
}

TEST(TokenizerJson, StandsForAVocabularyOfTiktokenBesideIt) {
  TestFolder folder;
  const std::string model = folder.write("tokenizer.model", "IQ== 0\nIg== 1\nIw== 2\n");
  for (const std::string& source : {model, folder.path()})
    EXPECT_TRUE(absl::StrContains(open_tokenizer(source).status().message(),
                                  "tokenizer.model is a vocabulary of tiktoken, which does not hold how text is cut; "
                                  "name the tokenizer.json"))
        << open_tokenizer(source).status();
  ASSERT_TRUE(open_json(folder, small_json()).ok());
  absl::StatusOr<std::unique_ptr<Tokenizer>> beside = open_tokenizer(folder.path());
  ASSERT_TRUE(beside.ok()) << beside.status();
  EXPECT_EQ(encode(**beside, "the the"), (Ids{257, 258}));
}

TEST(TokenizerJson, WhatItCannotDoIsRefusedByName) {
  TestFolder folder;
  const auto refusal = [&](const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json json = small_json();
    change(json);
    return std::string(open_json(folder, json).status().message());
  };
  EXPECT_THAT(refusal([](auto& j) { j["model"]["type"] = "Unigram"; }),
              testing::HasSubstr("\"Unigram\" behind ByteLevel is not available"));
  EXPECT_THAT(refusal([](auto& j) {
                j["normalizer"] = {{"type", "Precompiled"}};
              }),
              testing::HasSubstr("the normalizer \"Precompiled\""));
  EXPECT_THAT(refusal([](auto& j) {
                j["pre_tokenizer"] = {{"type", "UnicodeScripts"}};
              }),
              testing::HasSubstr("the pre-tokenizer \"UnicodeScripts\""));
  EXPECT_THAT(refusal([](auto& j) { j["model"]["merges"].push_back("t zz"); }), testing::HasSubstr("merge 7 (t zz)"));
  EXPECT_THAT(refusal([](auto& j) { j["model"]["vocab"]["a"] = "b"; }), testing::HasSubstr("the id of \"a\""));
  EXPECT_THAT(refusal([](auto& j) { j["model"]["vocab"].erase("a"); }), testing::HasSubstr("no symbol a"));
  EXPECT_THAT(refusal([](auto& j) {
                j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
              }),
              testing::HasSubstr("is not sound"));
  folder.write("tokenizer.json", "{");
  EXPECT_THAT(std::string(open_tokenizer(folder.path()).status().message()), testing::HasSubstr("not valid JSON"));
}

TEST(Unicode, BrokenSequencesBecomeOneReplacementForEachLongestBeginning) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(valid_utf8("plain \xE2\x82\xAC"), "plain \xE2\x82\xAC");
  EXPECT_EQ(valid_utf8("\x80"), r);
  EXPECT_EQ(valid_utf8("\xC0\xAF"), r + r);  // overlong
  EXPECT_EQ(valid_utf8("\xE2\x82"), r);      // cut short
  EXPECT_EQ(valid_utf8("\xE2\x82"
                       "x"),
            r + "x");
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), r + r + r + r);  // beyond Unicode
}

}  // namespace
}  // namespace galleon

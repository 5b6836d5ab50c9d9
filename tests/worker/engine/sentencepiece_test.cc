// SentencePiece behind a memory of words gives the library's ids, on any text and from any thread.
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/sentencepiece_model.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {
namespace {

std::vector<std::string> models() {
  std::vector<std::string> found{GALLEON_SOURCE_DIR "/deploy/examples/janeausten/tokenizer.model"};
  for (const char* name : {"llama/tokenizer.model", "openllama/tokenizer.model", "t5/spiece.model"}) {
    const std::string path = absl::StrCat(GALLEON_SOURCE_DIR, "/../shared/data/tokenizers/", name);
    if (std::filesystem::exists(path)) found.push_back(path);
  }
  return found;
}

// Words, spaces, marks and other scripts in an order that no text has.
std::string hard_text(std::mt19937_64& random) {
  const char* kParts[] = {
      "the",  "Captain", "12",  "3.5%",         "(it's)", "--------", "x",   ",",         ".",      " ", " ",
      " ",    " ",       "  ",  "\n",           "\n\n",   "\t",       "é",   "e\xCC\x81", "日本語", "🚢", "▁",
      "\xFF", "</s>",    "ﬁne", "antidisestab", " a ",    " I ",      " \n", "\r\n",      "…"};
  std::string text;
  for (uint64_t i = random() % 60; i > 0; --i) text += kParts[random() % std::size(kParts)];
  return text;
}

TEST(SentencePiece, ByWordsGivesTheIdsOfTheLibraryForTheWholeText) {
  for (const std::string& path : models()) {
    SCOPED_TRACE(path);
    absl::StatusOr<std::unique_ptr<SentencePieceModel>> library = SentencePieceModel::open(path);
    if (absl::IsUnavailable(library.status())) GTEST_SKIP() << library.status().message();
    ASSERT_TRUE(library.ok()) << library.status();
    std::unique_ptr<Tokenizer> ours = *open_tokenizer(path);
    std::mt19937_64 random(7);
    for (int i = 0; i < 3000; ++i) {
      const std::string text = hard_text(random);
      std::vector<int32_t> expected;
      (*library)->encode(text.data(), text.size(), expected);
      std::vector<int32_t> ids;
      ours->encode(text, ids);
      ASSERT_EQ(ids, expected) << text;
    }
    std::ifstream file(GALLEON_SOURCE_DIR "/deploy/examples/janeausten/validation/northangerabbey.txt");
    std::stringstream book;
    book << file.rdbuf();
    const std::string text = book.str().substr(0, 60000);
    std::vector<int32_t> expected;
    (*library)->encode(text.data(), text.size(), expected);
    std::vector<std::vector<int32_t>> of_thread(3);
    std::vector<std::thread> threads;
    for (std::vector<int32_t>& ids : of_thread) threads.emplace_back([&] { ours->encode(text, ids); });
    for (std::thread& thread : threads) thread.join();
    for (const std::vector<int32_t>& ids : of_thread) EXPECT_EQ(ids, expected);
  }
}

TEST(SentencePiece, ControlPiecesAreMarks) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(models()[0]);
  if (absl::IsUnavailable(tokenizer.status())) GTEST_SKIP() << tokenizer.status().message();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::vector<int32_t> ids;
  (*tokenizer)->encode_marked("<s>The ship</s>", ids);
  ASSERT_GT(ids.size(), 2U);
  EXPECT_EQ(ids.front(), (*tokenizer)->begin_token());
  EXPECT_EQ(ids.back(), (*tokenizer)->end_token());
  std::vector<int32_t> plain;
  (*tokenizer)->encode("The ship", plain);
  EXPECT_EQ(std::vector<int32_t>(ids.begin() + 1, ids.end() - 1), plain);
}

}  // namespace
}  // namespace galleon

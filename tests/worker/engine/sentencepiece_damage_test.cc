// Damaged SentencePiece models are errors with the file's name, and never the end of this process.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "absl/strings/match.h"
#include "tests/worker/engine/run_support.h"
#include "tests/worker/engine/stories_tokenizer.h"
#include "worker/engine/data/sentencepiece_check.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {
namespace {

using testing::HasSubstr;

std::string four_bytes(int field, uint32_t bits) {
  std::string text = varint(static_cast<uint64_t>(field) << 3 | 5);
  for (int i = 0; i < 4; ++i) text.push_back(static_cast<char>(bits >> (8 * i)));
  return text;
}

std::string piece(const std::string& text, int type = 1, uint32_t score = 0) {
  return bytes_field(1, bytes_field(1, text) + four_bytes(2, score) + number_field(3, static_cast<uint64_t>(type)));
}

std::string letters() {
  std::string model = piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3);
  for (char c = 'a'; c <= 'z'; ++c) model += piece(std::string(1, c));
  return model;
}

// A normalizer's table of characters: units, and texts behind them.
std::string table(const std::vector<uint32_t>& units, const std::string& texts) {
  std::string bytes;
  const auto add = [&](uint32_t number) {
    for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(number >> (8 * i)));
  };
  add(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) add(unit);
  return bytes_field(3, bytes_field(2, bytes + texts));
}

class SentencePieceDamage : public testing::Test {
 protected:
  absl::Status open(const std::string& model) {
    const std::string path = folder_.write("tokenizer.model", model);
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(path);
    if (!tokenizer.ok()) {
      EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(path));
      return tokenizer.status();
    }
    std::vector<int32_t> ids;
    (*tokenizer)->encode("a ship of \xEF\xBC\xA1 thousand words", ids);
    (void)(*tokenizer)->decode(ids);
    return absl::OkStatus();
  }
  void refused(const std::string& model, const std::string& why) {
    const absl::Status status = open(model);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }
  void SetUp() override {
    if (const absl::Status whole = open(letters()); absl::IsUnavailable(whole)) GTEST_SKIP() << whole.message();
    ASSERT_TRUE(open(letters()).ok());
  }

  TestFolder folder_;
};

TEST_F(SentencePieceDamage, APieceThatIsTooLongIsRefused) {
  refused(letters() + piece(std::string(500'000, 'a')), "piece 29 has 500000 bytes");
}

TEST_F(SentencePieceDamage, APieceOfAZeroByteAndOneOfNothingEndNoProcess) {
  (void)open(letters() + piece(std::string(1, '\0')));
  (void)open(letters() + piece(std::string("\0a", 2)) + piece(std::string("\0b", 2)));
  refused(letters() + piece(""), "is not a");
}

TEST_F(SentencePieceDamage, AScoreThatIsNoNumberIsRefused) {
  refused(letters() + piece("zz", 1, 0x7FC00000), "the score of piece 29 is not finite");
}

TEST_F(SentencePieceDamage, ATableOfCharactersThatLeadsOutOfItselfIsRefused) {
  std::vector<uint32_t> units(256, 0);
  EXPECT_TRUE(open(letters() + table(units, std::string(1, '\0'))).ok());
  units[0] = 0x7FFFFC00;
  refused(letters() + table(units, std::string(1, '\0')), "unit 0 leads out of it");
  units[0] = 1U << 8;  // has a value, which lies in unit 0 itself
  refused(letters() + table(units, std::string(1, '\0')), "unit 0 leads out of it");
  units[0] = 0;
  refused(letters() + table(units, "no end"), "its last text does not end");
  refused(letters() + bytes_field(3, bytes_field(2, "\xFF\xFF\xFF\x7F and no more")), "its size is not the file's");
}

TEST_F(SentencePieceDamage, EveryCutAndManyChangesAreRefusedOrHarmless) {
  absl::StatusOr<std::string> whole = read_file(GALLEON_SOURCE_DIR "/deploy/examples/janeausten/tokenizer.model");
  ASSERT_TRUE(whole.ok());
  ASSERT_TRUE(open(*whole).ok());
  std::mt19937_64 random(5);
  for (int i = 0; i < 40; ++i) (void)open(whole->substr(0, random() % whole->size()));
  for (int i = 0; i < 120; ++i) {
    std::string changed = *whole;
    // The header of a file matters more than its thousandth piece: half of the changes lie at its two ends.
    const size_t near = std::min<size_t>(changed.size(), 4096);
    for (uint64_t n = 1 + random() % 4; n > 0; --n) {
      const size_t at = random() % 2 == 0 ? random() % changed.size() : changed.size() - 1 - random() % near;
      changed[at] = static_cast<char>(random());
    }
    (void)open(changed);
  }
}

TEST(TryApart, WhatCrashesExhaustsOrEndsIsAnErrorOfTheFile) {
  EXPECT_TRUE(try_apart([] {}, "some.model").ok());
  for (const auto& trial : {+[] { std::abort(); }, +[] { ::_exit(3); }, +[] { ::raise(SIGSEGV); }}) {
    const absl::Status status = try_apart(trial, "some.model");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("some.model"));
  }
}

}  // namespace
}  // namespace galleon

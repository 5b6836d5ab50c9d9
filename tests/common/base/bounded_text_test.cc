#include "common/base/bounded_text.h"

#include <gmock/gmock.h>

namespace galleon {
namespace {

TEST(BoundedText, WhatFitsStaysAsItIs) {
  for (const char* text : {"", "plain", "naïve — 数\xF0\x9F\x8C\x8A"}) EXPECT_EQ(bounded_text(text), text);
  EXPECT_EQ(bounded_text(std::string(kLongestText, 'x')), std::string(kLongestText, 'x'));
}

TEST(BoundedText, OfALongOneTheBeginningAndTheEndStay) {
  const std::string text = "config.json: " + std::string(5'000'000, 'm') + " is not known";
  const std::string found = bounded_text(text);
  EXPECT_LE(found.size(), kLongestText);
  EXPECT_THAT(found, testing::StartsWith("config.json: mmm"));
  EXPECT_THAT(found, testing::EndsWith("m is not known"));
  EXPECT_THAT(found, testing::HasSubstr(" bytes left out] "));
  EXPECT_LE(bounded_text(text, 64).size(), 64U);
}

TEST(BoundedText, IsCutBetweenCharactersAndRepaired) {
  std::string characters;
  for (int i = 0; i < 3000; ++i) characters += "数";
  for (size_t bytes = 64; bytes < 80; ++bytes) {
    const std::string found = bounded_text(characters, bytes);
    EXPECT_LE(found.size(), bytes);
    EXPECT_EQ(bounded_text(found, bytes), found) << "well formed, so that it stays as it is";
  }
  EXPECT_EQ(bounded_text("a\xFF"
                         "b\xC3"),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
  // Too long a form, half of a surrogate pair, beyond the last character.
  for (const char* bad : {"\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80"})
    EXPECT_THAT(bounded_text(bad), testing::StartsWith("\xEF\xBF\xBD")) << bad;
  EXPECT_LE(bounded_text(std::string(4000, '\xFF')).size(), kLongestText) << "each would take three bytes";
}

}  // namespace
}  // namespace galleon

#include "common/base/printable.h"

#include <gtest/gtest.h>

namespace galleon {
namespace {

TEST(Printable, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(printable("loss 3.2, café €"), "loss 3.2, café €");
  EXPECT_EQ(printable("\x1b[31mred\x1b]0;title\x07"), "\\e[31mred\\e]0;title\\x07");
  EXPECT_EQ(printable("a\r\nb\tc\x7f"), "a\\r\\nb\\tc\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\x9b31m")
      << "the same order in one character";
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "txt"),
            "\\u202etxt");
}

TEST(Printable, BytesThatAreNoTextAreShownOneByOne) {
  EXPECT_EQ(printable("\x9b"
                      "a\xff\xc2"),
            "\\x9ba\\xff\\xc2");
  EXPECT_EQ(printable("\xc0\x9b"), "\\xc0\\x9b") << "a longer form of a control character";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "half of a pair";
}

TEST(PrintableLog, KeepsTabsAndEndsOfLines) {
  PrintableLog log;
  EXPECT_EQ(log.add("a\tb\r\nc\rd\n\x1b[2J"), "a\tb\r\nc\\rd\n\\e[2J");
  EXPECT_EQ(log.finish(), "");
}

TEST(PrintableLog, ACharacterMayLieInTwoPieces) {
  PrintableLog log;
  EXPECT_EQ(log.add("x\xc2"), "x");
  EXPECT_EQ(log.add("\x9b"
                    "1m\r"),
            "\\x9b1m");
  EXPECT_EQ(log.add("\n\xe2\x82"), "\r\n");
  EXPECT_EQ(log.add("\xac\r"), "€");
  EXPECT_EQ(log.finish(), "\\r");
}

}  // namespace
}  // namespace galleon

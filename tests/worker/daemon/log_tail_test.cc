#include "worker/daemon/log_tail.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/ids.h"

namespace galleon {
namespace {

class LogTailTest : public testing::Test {
 protected:
  ~LogTailTest() override { ::unlink(path_.c_str()); }
  void write(const std::string& text) { std::ofstream(path_, std::ios::app | std::ios::binary) << text; }
  // Sends all that waits, as a scheduler that stores everything would see it.
  static std::string ship(LogTail& tail, size_t limit) {
    std::string stored;
    while (true) {
      const LogTail::Chunk chunk = tail.next(limit);
      if (chunk.data.empty()) return stored;
      stored += chunk.data;
      tail.acknowledge(chunk, tail.position().shipped + chunk.data.size());
    }
  }

  const std::string path_ = testing::TempDir() + "/tail-" + random_hex(4) + ".log";
};

TEST_F(LogTailTest, EveryByteIsShippedOnceInAnyPieces) {
  LogTail tail(path_, {}, 1 << 20);
  EXPECT_TRUE(tail.next(100).data.empty());
  write("first\nsecond\n");
  EXPECT_EQ(ship(tail, 4), "first\nsecond\n");
  write("third\n");
  EXPECT_EQ(tail.written(), 19u);
  // A daemon that begins again from the stored position goes on there.
  LogTail next(path_, tail.position(), 1 << 20);
  EXPECT_EQ(ship(next, 4), "third\n");
}

TEST_F(LogTailTest, AnUnansweredPieceIsSentAgainAndAHalfStoredOneGoesOn) {
  LogTail tail(path_, {}, 1 << 20);
  write("0123456789");
  const LogTail::Chunk chunk = tail.next(10);
  EXPECT_EQ(tail.next(10).data, chunk.data);
  tail.acknowledge(chunk, 4);
  EXPECT_EQ(tail.next(10).data, "456789");
  EXPECT_EQ(tail.next(10).offset, 4u);
}

TEST_F(LogTailTest, TheMiddleOfAnOverlongBacklogIsDroppedWithALineThatSaysSo) {
  LogTail tail(path_, {}, 1000);
  const std::string early(400, 'a');
  write(early);
  (void)tail.next(100);
  write(std::string(100000, 'm'));
  write(std::string(500, 'z'));
  const uint64_t written = [&] {
    (void)tail.next(100);
    return tail.written();
  }();
  const std::string stored = ship(tail, 64);
  EXPECT_EQ(stored.size(), written);
  EXPECT_EQ(stored.substr(0, 400), early);
  EXPECT_TRUE(absl::EndsWith(stored, std::string(500, 'z')));
  EXPECT_NE(stored.find("[galleon-worker: 99900 bytes of this log were dropped here"), std::string::npos)
      << stored.substr(390, 300);
  EXPECT_LT(stored.size(), 1200u);
  write("after\n");
  EXPECT_EQ(ship(tail, 64), "after\n");
}

}  // namespace
}  // namespace galleon

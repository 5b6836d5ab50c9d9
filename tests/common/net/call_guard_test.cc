// How many calls a connection may begin before they are looked at, and let go before their answers.
#include "common/net/call_guard.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace galleon {
namespace {

class HandClock final : public Clock {
 public:
  absl::Time now() const override { return absl::UnixEpoch() + at; }
  absl::Duration monotonic() const override { return at; }
  absl::Duration at = absl::Seconds(1);
};

class CallGuardTest : public testing::Test {
 protected:
  int begun(const std::string& connection, int calls) {
    int taken = 0;
    for (int i = 0; i < calls; ++i) taken += guard_.begin(connection) ? 1 : 0;
    return taken;
  }

  HandClock clock_;
  std::vector<std::string> ended_;
  CallGuard guard_{&clock_, [this](const std::string& peer) { ended_.push_back(peer); }};
};

TEST_F(CallGuardTest, WhoseCallsAreLookedAtMayBeginAsManyAsItLikes) {
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(guard_.begin("1"));
    guard_.start("1", "ann");
  }
  EXPECT_TRUE(ended_.empty());
}

TEST_F(CallGuardTest, CallsThatNobodyHasLookedAtAreRefusedAndTheirConnectionIsEndedAtTheNextLook) {
  EXPECT_EQ(begun("1", 1'000), 400);
  EXPECT_EQ(begun("2", 1), 1) << "another connection's";
  EXPECT_TRUE(ended_.empty()) << "who it is is not known yet";
  guard_.start("2", "bob");
  guard_.start("1", "eve");
  EXPECT_EQ(ended_, std::vector<std::string>{"eve"});
  guard_.start("1", "eve");
  EXPECT_EQ(ended_.size(), 1U) << "told once";
}

TEST_F(CallGuardTest, CallsThatAreNeverLookedAtAreForgottenInTime) {
  for (int i = 0; i < 1'000; ++i) {
    ASSERT_TRUE(guard_.begin("1"));
    clock_.at += absl::Milliseconds(20);
  }
}

TEST_F(CallGuardTest, WhoLetsTooManyCallsGoIsEnded) {
  for (int i = 0; i < 500; ++i) guard_.cancel("1", "eve");
  EXPECT_TRUE(ended_.empty());
  guard_.cancel("1", "eve");
  EXPECT_EQ(ended_, std::vector<std::string>{"eve"});
  ended_.clear();
  // A hundred a second are not too many.
  for (int i = 0; i < 5'000; ++i) {
    guard_.cancel("2", "ann");
    clock_.at += absl::Milliseconds(10);
  }
  EXPECT_TRUE(ended_.empty());
}

TEST_F(CallGuardTest, ConnectionsThatAreGoneAreForgotten) {
  for (int i = 0; i < 1'000; ++i) guard_.cancel(std::to_string(i), "ann");
  EXPECT_EQ(guard_.size(), 1'000U);
  clock_.at += absl::Seconds(11);
  guard_.cancel("new", "ann");
  EXPECT_EQ(guard_.size(), 1U);
}

}  // namespace
}  // namespace galleon

// Whose turn it is: the fleet before changes before reads, callers by turns, and bounds that hit who asks for much.
#include "server/api/inbox.h"

#include <gtest/gtest.h>

#include "server/api/loop.h"
#include "server/api/open_calls.h"

namespace galleon::server {
namespace {

class InboxTest : public testing::Test {
 protected:
  absl::Status add(Lane lane, const std::string& caller, const std::string& word) {
    return inbox_.add(lane, caller, [this, word](Turn&) { done_.push_back(word); });
  }
  std::vector<std::string> take_all(Lane lane) {
    done_.clear();
    SchedulerOptions options;
    Scheduler scheduler(options);
    std::vector<std::function<void()>> after;
    Turn turn{scheduler, {}, after};
    while (std::optional<Inbox::Task> task = inbox_.take(lane)) (*task)(turn);
    return done_;
  }

  Inbox inbox_;
  std::vector<std::string> done_;
};

TEST_F(InboxTest, CallersTakeTurnsAndEachKeepsItsOrder) {
  for (const char* word : {"a1", "a2", "a3"}) ASSERT_TRUE(add(Lane::kReads, "ann", word).ok());
  for (const char* word : {"b1", "b2"}) ASSERT_TRUE(add(Lane::kReads, "bob", word).ok());
  EXPECT_EQ(take_all(Lane::kReads), (std::vector<std::string>{"a1", "b1", "a2", "b2", "a3"}));
  EXPECT_TRUE(inbox_.empty());
}

TEST_F(InboxTest, LanesAreApartAndTheFleetSpeaksInOrder) {
  ASSERT_TRUE(add(Lane::kReads, "ann", "read").ok());
  ASSERT_TRUE(add(Lane::kFleet, "w1", "first").ok());
  ASSERT_TRUE(add(Lane::kFleet, "w1", "second").ok());
  ASSERT_TRUE(add(Lane::kFleet, "w2", "third").ok());
  EXPECT_EQ(inbox_.size(Lane::kFleet), 3U);
  EXPECT_EQ(take_all(Lane::kFleet), (std::vector<std::string>{"first", "second", "third"}));
  EXPECT_TRUE(take_all(Lane::kChanges).empty());
  EXPECT_EQ(take_all(Lane::kReads), std::vector<std::string>{"read"});
}

TEST_F(InboxTest, WhoAsksForTooMuchIsRefusedAndOthersAreNot) {
  int taken = 0;
  while (taken < 10'000 && add(Lane::kReads, "greedy", "x").ok()) ++taken;
  EXPECT_EQ(taken, 500);
  EXPECT_TRUE(absl::IsResourceExhausted(add(Lane::kReads, "greedy", "x")));
  EXPECT_TRUE(add(Lane::kReads, "other", "y").ok());
  EXPECT_TRUE(add(Lane::kChanges, "greedy", "z").ok());
  for (int i = 0; i < 30'000; ++i) ASSERT_TRUE(add(Lane::kFleet, "w", "report").ok()) << i;
  for (int caller = 0; caller < 100; ++caller) {
    for (int i = 0; i < 500; ++i) (void)add(Lane::kReads, "c" + std::to_string(caller), "x");
  }
  EXPECT_EQ(inbox_.size(Lane::kReads), 4'000U);
  EXPECT_EQ(take_all(Lane::kReads).size(), 4'000U);
}

TEST(OpenCalls, APlaceIsFreeWhenTheCallIsOver) {
  OpenCalls calls({.calls = 2});
  absl::StatusOr<OpenCalls::Place> first = calls.enter("ann");
  const absl::StatusOr<OpenCalls::Place> second = calls.enter("ann");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(calls.enter("ann").status()));
  EXPECT_TRUE(calls.enter("bob").ok());
  first->reset();
  EXPECT_TRUE(calls.enter("ann").ok()) << "and free again at once, as nobody keeps it";
  const absl::StatusOr<OpenCalls::Place> third = calls.enter("ann");
  EXPECT_TRUE(third.ok());
}

TEST(OpenCalls, WhatWaitsToBeTakenIsBoundedToo) {
  OpenCalls calls({.calls = 9, .bytes = 2 << 20});
  absl::StatusOr<OpenCalls::Place> first = calls.enter("ann");
  const absl::StatusOr<OpenCalls::Place> second = calls.enter("ann");
  const absl::StatusOr<OpenCalls::Place> of_bob = calls.enter("bob");
  ASSERT_TRUE(first.ok() && second.ok() && of_bob.ok());
  (*first)->answers(1 << 20);
  EXPECT_TRUE((*second)->may_answer().ok());
  (*first)->answers(1 << 20);
  EXPECT_EQ((*second)->may_answer().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE((*of_bob)->may_answer().ok());
  first->reset();
  EXPECT_TRUE((*second)->may_answer().ok());
}

}  // namespace
}  // namespace galleon::server

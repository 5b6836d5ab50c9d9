#include "server/core/queues.h"

#include <gtest/gtest.h>

namespace galleon::server {
namespace {

QueueUse queue(const std::string& id, double weight, uint32_t guaranteed, uint32_t limit, uint32_t used,
               uint32_t fixed = 0) {
  QueueUse made;
  made.config = {id, weight, guaranteed, limit, "default"};
  made.used = used;
  made.fixed = fixed;
  return made;
}

TEST(Queues, WhoIsBelowItsGuaranteeComesFirstThenWhoUsesLeastForItsWeight) {
  const NextJob one{1, 1};
  EXPECT_TRUE(comes_before(queue("b", 1, 4, 0, 3), one, queue("a", 9, 0, 0, 0), one));
  EXPECT_TRUE(comes_before(queue("b", 1, 8, 0, 3), one, queue("a", 1, 4, 0, 3), one));
  EXPECT_TRUE(comes_before(queue("b", 4, 0, 0, 3), one, queue("a", 1, 0, 0, 1), one));
  EXPECT_FALSE(comes_before(queue("a", 1, 0, 0, 2), one, queue("a", 1, 0, 0, 2), one));
}

TEST(Queues, AmongEqualsTheOlderJobComesFirstWhateverTheNames) {
  EXPECT_TRUE(comes_before(queue("b", 1, 0, 0, 2), {1, 3}, queue("a", 1, 0, 0, 2), {1, 4}));
  EXPECT_FALSE(comes_before(queue("a", 1, 0, 0, 2), {1, 4}, queue("b", 1, 0, 0, 2), {1, 3}));
}

TEST(Queues, AGuaranteeGoesBeforeOthersOnlyWithWhatFitsIntoIt) {
  // The third and fourth slots of a gang are borrowed.
  EXPECT_FALSE(comes_before(queue("b", 1, 2, 0, 0), {4, 2}, queue("a", 1, 0, 0, 0), {1, 1}));
  EXPECT_TRUE(comes_before(queue("b", 1, 2, 0, 0), {2, 2}, queue("a", 1, 0, 0, 0), {1, 1}));
}

TEST(Queues, WhoIsOverdueComesBeforeWhoUsesLessButNotBeforeGuarantees) {
  EXPECT_TRUE(comes_before(queue("a", 1, 0, 0, 5), {1, 1, true}, queue("b", 1, 0, 0, 0), {1, 2}));
  EXPECT_TRUE(comes_before(queue("a", 1, 0, 0, 5), {1, 1, true}, queue("b", 1, 0, 0, 0), {1, 2, true}));
  EXPECT_FALSE(comes_before(queue("a", 1, 0, 0, 0), {1, 1, true}, queue("b", 1, 1, 0, 0), {1, 2}));
}

TEST(Queues, ALimitCountsWhatIsUsedAndWhatIsAskedFor) {
  EXPECT_TRUE(queue("a", 1, 0, 4, 2).within_limit(2));
  EXPECT_FALSE(queue("a", 1, 0, 4, 2).within_limit(3));
  EXPECT_TRUE(queue("a", 1, 0, 0, 1000).within_limit(1000));
}

TEST(Queues, WhatCannotBePreemptedLeavesTheGuaranteesOfOthersAlone) {
  const std::vector<QueueUse> queues = {queue("a", 1, 0, 0, 0), queue("b", 1, 4, 0, 1, 1)};
  // Of 8 slots b has 1 for good and is promised 3 more.
  EXPECT_EQ(beyond_guarantees(queues, 0, 4, 8), 0U);
  EXPECT_EQ(beyond_guarantees(queues, 0, 6, 8), 2U);
  EXPECT_EQ(beyond_guarantees(queues, 1, 7, 8), 0U);
}

TEST(Queues, WhatIsDueToAFirstJobCountsAsTaken) {
  std::vector<QueueUse> queues = {queue("a", 1, 0, 0, 0), queue("b", 1, 4, 0, 1, 1), queue("c", 1, 0, 0, 0)};
  queues[0].due = 3;
  EXPECT_EQ(beyond_guarantees(queues, 2, 1, 8), 0U);
  EXPECT_EQ(beyond_guarantees(queues, 2, 2, 8), 1U);
  EXPECT_EQ(beyond_guarantees(queues, 1, 3, 8), 0U);
}

TEST(Queues, SomeJobsWouldBeBeyondGuaranteesOfAnIdleFleetToo) {
  const std::vector<QueueUse> queues = {queue("a", 1, 0, 0, 4, 4), queue("b", 1, 4, 0, 1, 1)};
  EXPECT_FALSE(always_beyond_guarantees(queues, 0, 4, 8));
  EXPECT_TRUE(always_beyond_guarantees(queues, 0, 5, 8));
  EXPECT_FALSE(always_beyond_guarantees(queues, 1, 4, 4));
}

TEST(Queues, SharesAreGuaranteesThenWeightsAndNeverMoreThanWantedOrAllowed) {
  const std::vector<QueueUse> queues = {queue("a", 1, 2, 0, 0), queue("b", 3, 0, 0, 0), queue("c", 1, 0, 1, 0)};
  EXPECT_EQ(fair_shares(queues, {100, 100, 100}, 10), (std::vector<double>{2 + 1.75, 5.25, 1}));
  EXPECT_EQ(fair_shares(queues, {1, 100, 0}, 10), (std::vector<double>{1, 9, 0}));
  EXPECT_EQ(fair_shares(queues, {1, 1, 1}, 10), (std::vector<double>{1, 1, 1}));
}

}  // namespace
}  // namespace galleon::server

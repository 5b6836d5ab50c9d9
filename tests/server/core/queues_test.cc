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
  EXPECT_TRUE(comes_before(queue("b", 1, 4, 0, 3), queue("a", 9, 0, 0, 0)));
  EXPECT_TRUE(comes_before(queue("b", 1, 8, 0, 3), queue("a", 1, 4, 0, 3)));
  EXPECT_TRUE(comes_before(queue("b", 4, 0, 0, 3), queue("a", 1, 0, 0, 1)));
  EXPECT_TRUE(comes_before(queue("a", 1, 0, 0, 2), queue("b", 1, 0, 0, 2)));
  EXPECT_FALSE(comes_before(queue("a", 1, 0, 0, 2), queue("a", 1, 0, 0, 2)));
}

TEST(Queues, ALimitCountsWhatIsUsedAndWhatIsAskedFor) {
  EXPECT_TRUE(queue("a", 1, 0, 4, 2).within_limit(2));
  EXPECT_FALSE(queue("a", 1, 0, 4, 2).within_limit(3));
  EXPECT_TRUE(queue("a", 1, 0, 0, 1000).within_limit(1000));
}

TEST(Queues, WhatCannotBePreemptedLeavesTheGuaranteesOfOthersAlone) {
  const std::vector<QueueUse> queues = {queue("a", 1, 0, 0, 0), queue("b", 1, 4, 0, 1, 1)};
  // Of 8 slots b has 1 for good and is promised 3 more.
  EXPECT_TRUE(leaves_guarantees(queues, 0, 4, 8));
  EXPECT_FALSE(leaves_guarantees(queues, 0, 5, 8));
  EXPECT_TRUE(leaves_guarantees(queues, 1, 7, 8));
}

TEST(Queues, SharesAreGuaranteesThenWeightsAndNeverMoreThanWantedOrAllowed) {
  const std::vector<QueueUse> queues = {queue("a", 1, 2, 0, 0), queue("b", 3, 0, 0, 0), queue("c", 1, 0, 1, 0)};
  EXPECT_EQ(fair_shares(queues, {100, 100, 100}, 10), (std::vector<double>{2 + 1.75, 5.25, 1}));
  EXPECT_EQ(fair_shares(queues, {1, 100, 0}, 10), (std::vector<double>{1, 9, 0}));
  EXPECT_EQ(fair_shares(queues, {1, 1, 1}, 10), (std::vector<double>{1, 1, 1}));
}

}  // namespace
}  // namespace galleon::server

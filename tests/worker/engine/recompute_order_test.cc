// Which inputs a backward finds, and which it computes again.
#include "worker/engine/model/recompute_order.h"

#include <gtest/gtest.h>

#include <set>

namespace galleon {
namespace {

// Goes through a backward as a model does: every visit must find its block's input, and a place holds the input that
// was last written to it.
TEST(RecomputeOrder, EveryBlockGoesBackwardOnceAndFindsItsInput) {
  for (int64_t blocks = 1; blocks <= 12; ++blocks) {
    for (int64_t kept = 1; kept <= blocks; ++kept) {
      const RecomputeOrder order(blocks, kept);
      std::vector<int64_t> places(order.places(), -1);
      int64_t with_input = 0;
      const auto arrives = [&](int64_t block) {
        if (order.place(block) >= 0) places.at(order.place(block)) = block;
      };
      for (int64_t block = 0; block < blocks; ++block) {
        arrives(block);
        with_input += order.place(block) < 0 ? 1 : 0;
      }
      EXPECT_EQ(with_input, kept);
      int64_t next_backward = blocks - 1;
      for (const RecomputeOrder::Visit& visit : order.visits()) {
        EXPECT_TRUE(order.place(visit.block) < 0 || places[order.place(visit.block)] == visit.block)
            << "block " << visit.block << " of " << blocks << " with " << kept;
        if (visit.backward) {
          EXPECT_EQ(visit.block, next_backward--);
        } else {
          arrives(visit.block + 1);
        }
      }
      EXPECT_EQ(next_backward, -1);
      // One forward for every input that is not kept, but for those of the last run, which are still there.
      EXPECT_LE(static_cast<int64_t>(order.visits().size()), blocks + (blocks - kept));
    }
  }
}

TEST(RecomputeOrder, RunsAreAsEvenAsCanBeSoThatFewPlacesAreNeeded) {
  EXPECT_EQ(RecomputeOrder(32, 32).places(), 0);
  EXPECT_EQ(RecomputeOrder(32, 24).places(), 1);
  EXPECT_EQ(RecomputeOrder(32, 16).places(), 1);
  EXPECT_EQ(RecomputeOrder(32, 15).places(), 2);
  EXPECT_EQ(RecomputeOrder(32, 1).places(), 31);
}

}  // namespace
}  // namespace galleon

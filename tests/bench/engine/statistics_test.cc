#include "tests/bench/engine/statistics.h"

#include <gtest/gtest.h>

namespace galleon {
namespace {

TEST(Statistics, MedianIsTheMiddleValueOrTheMeanOfTheMiddleTwo) {
  EXPECT_EQ(median({3.0, 1.0, 2.0}), 2.0);
  EXPECT_EQ(median({4.0, 1.0, 3.0, 2.0}), 2.5);
  EXPECT_EQ(median({5.0}), 5.0);
}

TEST(Statistics, ASlowMomentThatHitsBothSidesLeavesTheRatioAlone) {
  EXPECT_EQ(median_ratio({2.0, 20.0, 4.0}, {1.0, 10.0, 2.0}), 2.0);
}

TEST(Statistics, TheMeanOverAnIntervalWeighsStepsByTheirNumber) {
  EXPECT_DOUBLE_EQ(interval_mean(1.0, 3.0, 50, 200), 1.5);
  EXPECT_DOUBLE_EQ(interval_mean(1.0, 3.0, 0, 200), 1.0);
  EXPECT_DOUBLE_EQ(interval_mean(1.0, 3.0, 200, 200), 3.0);
}

}  // namespace
}  // namespace galleon

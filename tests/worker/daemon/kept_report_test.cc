#include "worker/daemon/kept_report.h"

#include <gtest/gtest.h>

namespace galleon {
namespace {

v1::SweepMember sweep(bool by_validation) {
  v1::SweepMember wanted;
  wanted.add_rungs(10);
  wanted.add_rungs(20);
  wanted.set_by_validation(by_validation);
  return wanted;
}

v1::TrainerEvent step(uint64_t number, double loss) {
  v1::TrainerEvent event;
  event.mutable_step()->set_step(number);
  event.mutable_step()->set_loss(loss);
  return event;
}

v1::TrainerEvent evaluation(uint64_t number, double loss) {
  v1::TrainerEvent event;
  event.mutable_evaluation()->set_step(number);
  event.mutable_evaluation()->set_validation_loss(loss);
  return event;
}

TEST(KeptReport, TheLossAtEachRungIsKeptBesideTheNewest) {
  KeptReport report(v1::RankReport(), sweep(false));
  EXPECT_FALSE(report.take(step(5, 6)));
  EXPECT_TRUE(report.take(step(10, 5)));
  EXPECT_FALSE(report.take(evaluation(10, 1)));
  EXPECT_FALSE(report.take(step(15, 4)));
  EXPECT_EQ(report.report().progress().step(), 15U);
  ASSERT_EQ(report.report().rungs_size(), 1);
  EXPECT_EQ(report.report().rungs(0).loss(), 5);
  // A daemon that comes back goes on where it stood.
  KeptReport later(report.report(), sweep(false));
  EXPECT_TRUE(later.take(step(25, 3)));
  ASSERT_EQ(later.report().rungs_size(), 2);
  EXPECT_EQ(later.report().rungs(1).rung(), 20U);
  EXPECT_EQ(later.report().rungs(1).step(), 25U);
}

TEST(KeptReport, TheValidationLossCountsWhereItIsWanted) {
  KeptReport report(v1::RankReport(), sweep(true));
  EXPECT_FALSE(report.take(step(10, 5)));
  EXPECT_TRUE(report.take(evaluation(10, 4)));
  EXPECT_EQ(report.report().rungs(0).loss(), 4);
}

}  // namespace
}  // namespace galleon

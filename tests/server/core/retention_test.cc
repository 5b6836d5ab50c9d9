// What leaves the lists, under clocks that are right and clocks that are not.
#include "server/core/retention.h"

#include "server/core/transitions.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

constexpr int64_t kMinuteMs = 60'000;
constexpr int64_t kHourMs = 60 * kMinuteMs;
constexpr int64_t kDayMs = 24 * kHourMs;
constexpr int64_t kTwoYearsMs = 730 * kDayMs;

SchedulerOptions kept_for(int64_t ms) {
  SchedulerOptions options;
  options.ended_retention_ms = ms;
  return options;
}

std::string end_one(World& w) {
  std::string id = w.submit(job_named("x"));
  EXPECT_TRUE(w.scheduler->cancel(w.now, id, "", "").ok());
  w.tick();
  return id;
}

void pass(World& w, int64_t ms, int64_t step = kMinuteMs) {
  for (int64_t passed = 0; passed < ms; passed += step) w.tick(step);
}

TEST(Retention, WhatEndedLongerAgoThanItIsKeptLeavesAndTheRestStays) {
  World w(kept_for(kDayMs));
  for (int i = 0; i < 100; ++i) {
    end_one(w);
    pass(w, kHourMs);
  }
  EXPECT_EQ(w.scheduler->state().jobs().size(), 24U);
}

TEST(Retention, AClockThatIsTwoYearsAheadAtTheStartDeletesNothing) {
  World w(kept_for(30 * kDayMs));
  for (int i = 0; i < 20; ++i) {
    end_one(w);
    pass(w, kDayMs, kHourMs);
  }
  w.collect();
  w.now.wall_ms += kTwoYearsMs;
  w.restart();
  pass(w, 5 * kDayMs);
  EXPECT_EQ(w.scheduler->state().jobs().size(), 20U);
  // Ages go on from the newest entry of the journal.
  pass(w, 10 * kDayMs);
  EXPECT_LT(w.scheduler->state().jobs().size(), 20U);
}

TEST(Retention, OnceTheJournalHasWrongTimesADaysWorthGoesInADay) {
  World w(kept_for(30 * kDayMs));
  for (int i = 0; i < 20; ++i) {
    end_one(w);
    pass(w, kDayMs, kHourMs);
  }
  w.now.wall_ms += kTwoYearsMs;
  w.restart();
  end_one(w);
  // Starting again and again does not hurry it.
  for (int start = 0; start < 24 * 6; ++start) {
    w.restart();
    pass(w, 9 * kMinuteMs);
  }
  EXPECT_EQ(w.scheduler->state().jobs().size(), 21U);
  w.restart();
  for (size_t day = 1; day <= 10; ++day) {
    pass(w, kDayMs);
    EXPECT_GE(w.scheduler->state().jobs().size(), 20 - day) << "on day " << day;
  }
  EXPECT_LE(w.scheduler->state().jobs().size(), 12U);
}

TEST(Retention, AJobOfAClockThatWasAheadDoesNotKeepThoseAfterIt) {
  World w(kept_for(kDayMs));
  w.now.wall_ms += kTwoYearsMs;
  const std::string ahead = end_one(w);
  w.now.wall_ms -= kTwoYearsMs;
  const std::string after = end_one(w);
  pass(w, 2 * kDayMs, kHourMs);
  EXPECT_NE(w.scheduler->state().job(ahead), nullptr);
  EXPECT_EQ(w.scheduler->state().job(after), nullptr);
}

TEST(Retention, TooManyLeaveOldestFirstWhateverTheirAge) {
  SchedulerOptions options;
  options.most_ended = 5;
  World w(options);
  std::vector<std::string> ids;
  for (int i = 0; i < 8; ++i) ids.push_back(end_one(w));
  w.tick(10'000);
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(w.scheduler->state().job(ids[i]) != nullptr, i >= 3) << ids[i];
}

TEST(Retention, ASnapshotKnowsTheNewestTimeToo) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  end_one(w);
  w.tick(kHourMs);
  end_one(w);
  Scheduler restored(w.options);
  restored.restore(w.scheduler->state().to_proto());
  EXPECT_EQ(restored.state().newest_time_ms(), w.scheduler->state().newest_time_ms());
  EXPECT_EQ(restored.state().newest_time_ms(), w.now.wall_ms);
}

TEST(Retention, APaceGivesADaysWorthADayAndSavesADayAtMost) {
  ForgettingPace pace;
  pace.start(0);
  EXPECT_FALSE(pace.allows(0, 0));
  EXPECT_TRUE(pace.allows(0, kHourMs));
  EXPECT_TRUE(pace.allows(0, kHourMs));
  EXPECT_FALSE(pace.allows(2 * kHourMs, kHourMs));
  EXPECT_TRUE(pace.allows(kHourMs / 2, kHourMs));
  // Ends that lie far apart cost a day each.
  EXPECT_TRUE(pace.allows(40 * kDayMs, 40 * kDayMs));
  EXPECT_FALSE(pace.allows(80 * kDayMs, 40 * kDayMs));
  EXPECT_TRUE(pace.allows(80 * kDayMs, 41 * kDayMs));
}

}  // namespace
}  // namespace galleon::server

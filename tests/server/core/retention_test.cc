// What leaves the lists, under clocks that are right and clocks that are not.
#include "server/core/retention.h"

#include <algorithm>

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

SchedulerOptions queues_kept(Retention all, Retention nightly) {
  SchedulerOptions options;
  options.jobs_folder = "/jobs";
  options.queues = {{"default", 1, 0, 0, "default", all}, {"nightly", 1, 0, 0, "default", nightly}};
  return options;
}

v1::Job job_of(const std::string& queue) {
  v1::Job job = job_named("x");
  job.mutable_scheduling()->set_queue(queue);
  return job;
}

std::string end_one_of(World& w, const std::string& queue) {
  std::string id = w.submit(job_of(queue));
  EXPECT_TRUE(w.scheduler->cancel(w.now, id, "", "").ok());
  w.tick();
  return id;
}

size_t kept(const World& w, const std::vector<std::string>& ids) {
  return static_cast<size_t>(std::count_if(
      ids.begin(), ids.end(), [&w](const std::string& id) { return w.scheduler->state().job_state(id).has_value(); }));
}

TEST(Retention, EachQueueKeepsItsJobsForAsLongAsItSays) {
  World w(queues_kept({}, {kDayMs}));
  std::vector<std::string> all;
  std::vector<std::string> nightly;
  for (int i = 0; i < 60; ++i) {
    all.push_back(end_one_of(w, "default"));
    nightly.push_back(end_one_of(w, "nightly"));
    pass(w, kHourMs);
  }
  EXPECT_EQ(kept(w, all), 60U);
  EXPECT_EQ(kept(w, nightly), 24U);
}

TEST(Retention, EachQueueKeepsAsManyAsItSaysOfItsNewestWhateverOthersDo) {
  World w(queues_kept({}, {{}, 3}));
  std::vector<std::string> all;
  std::vector<std::string> nightly;
  for (int i = 0; i < 8; ++i) {
    nightly.push_back(end_one_of(w, "nightly"));
    all.push_back(end_one_of(w, "default"));
  }
  w.tick(10'000);
  EXPECT_EQ(kept(w, all), 8U);
  EXPECT_EQ(kept(w, nightly), 3U);
  EXPECT_TRUE(w.scheduler->state().job_state(nightly.back()).has_value());
  const std::vector<v1::Queue> queues = w.scheduler->describe_queues(w.now);
  EXPECT_EQ(queues[1].retention_jobs(), 3U);
  EXPECT_EQ(queues[1].ended(), 3U);
  EXPECT_EQ(queues[0].retention_seconds(), 30U * 24 * 3600);
  EXPECT_EQ(queues[0].retention_folders(), v1::Queue::KEEP);
}

TEST(Retention, FoldersGoWithJobsWhereTheirQueueSaysSoAndNowhereElse) {
  World w(queues_kept({{}, 1}, {{}, 1, Retention::Folders::kDelete}));
  const std::string stays = end_one_of(w, "default");
  const std::string goes = end_one_of(w, "nightly");
  end_one_of(w, "default");
  end_one_of(w, "nightly");
  w.tick(10'000);
  EXPECT_EQ(kept(w, {stays, goes}), 0U);
  const auto& removals = w.scheduler->state().removals();
  ASSERT_EQ(removals.size(), 1U);
  EXPECT_EQ(removals.at(goes).folder(), "/jobs/" + goes);
  EXPECT_EQ(removals.at(goes).kept(), "");
  // The order outlives the process, and is told.
  w.restart();
  EXPECT_EQ(w.scheduler->state().removals().size(), 1U);
  std::vector<v1::Event> events;
  ASSERT_TRUE(w.scheduler->state().events_after(0, "", 1000, events));
  EXPECT_EQ(events.back().kind(), "forgotten");
  EXPECT_EQ(events.back().message(), "more than 1 have ended in its queue");
}

TEST(Retention, WhatAJobThatHasNotEndedReadsOrComesAfterStaysAndIsNotCounted) {
  World w(queues_kept({}, {{}, 1, Retention::Folders::kDelete}));
  const std::string before = end_one_of(w, "nightly");
  const std::string model = end_one_of(w, "nightly");
  const std::string data = end_one_of(w, "nightly");
  const std::string nobodys = end_one_of(w, "nightly");
  v1::Job follows = job_of("default");
  follows.mutable_scheduling()->add_after("any:" + before);
  v1::Job reads = job_of("default");
  reads.mutable_model()->set_source("/jobs/" + model + "/checkpoints/step-00000005");
  reads.mutable_data()->add_train("/jobs/" + data + "/texts/*.txt");
  w.submit(follows);
  const std::string reader = w.submit(reads);
  const std::string newest = end_one_of(w, "nightly");
  w.tick(10'000);
  EXPECT_EQ(kept(w, {before, model, data, newest}), 4U);
  EXPECT_EQ(kept(w, {nobodys}), 0U);
  v1::DeleteJobRequest by_hand;
  by_hand.set_name(model);
  EXPECT_EQ(w.scheduler->remove(w.now, by_hand, "/jobs").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(w.scheduler->cancel(w.now, reader, "", "").ok());
  w.tick(10'000);
  EXPECT_EQ(kept(w, {model, data}), 0U);
}

TEST(Retention, AShorterAgeIsReachedADaysWorthOfTheOldADay) {
  World w(queues_kept({30 * kDayMs}, {}));
  std::vector<std::string> ids;
  for (int i = 0; i < 25; ++i) {
    ids.push_back(end_one_of(w, "default"));
    pass(w, kDayMs, kHourMs);
  }
  w.scheduler->reconfigure(w.now, queues_kept({5 * kDayMs}, {}).queues);
  pass(w, kHourMs);
  // A day's worth has been saved, and what the first costs.
  EXPECT_GE(kept(w, ids), 23U);
  for (int day = 0; day < 30; ++day) {
    const size_t had = kept(w, ids);
    ids.push_back(end_one_of(w, "default"));
    pass(w, kDayMs, kHourMs);
    // One of the old, one that has become too old since, and what was saved.
    EXPECT_GE(kept(w, ids) + 3, had + 1) << day;
  }
  EXPECT_LE(kept(w, ids), 6U);
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

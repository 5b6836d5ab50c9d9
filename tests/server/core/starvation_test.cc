// Nobody waits for ever behind those that came later, and nobody is overtaken on slots that it could use.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "tests/server/core/scene.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using Ids = std::vector<std::string>;

v1::Job fixed(const std::string& name, uint32_t ranks = 1, int32_t priority = 0) {
  v1::Job job = job_named(name, ranks);
  job.mutable_scheduling()->set_preemptible(false);
  job.mutable_scheduling()->set_priority(priority);
  return job;
}

// Of two slots one is always about to be free: singles that nobody can preempt come without end, one ends at a time.
struct Singles : World {
  Singles() {
    EXPECT_TRUE(join(worker_named("a", 2)).ok());
    running.push_back(submit(fixed("single")));
    running.push_back(submit(fixed("single")));
    take_up("a");
  }
  void end_one() {
    finish("a", running.front(), 0, v1::Finished::SUCCEEDED);
    running.erase(running.begin());
    forget_unlisted("a");
    take_up("a");
  }
  std::vector<std::string> running;
};

TEST(Starvation, AGangThatNobodyCanPreemptIsNotOvertakenByLaterSingles) {
  Singles w;
  const std::string gang = w.submit(fixed("gang", 2));
  const std::string later = w.submit(fixed("later"));
  w.end_one();
  EXPECT_EQ(w.state(later), v1::JobRecord::QUEUED);
  EXPECT_TRUE(absl::StrContains(w.record(gang).message(), "position 1 of 2; needs 2 slots of"))
      << w.record(gang).message();
  EXPECT_TRUE(absl::StrContains(w.record(gang).message(), ", 1 free on 1 worker")) << w.record(gang).message();
  EXPECT_FALSE(absl::StrContains(w.record(gang).message(), "other queues")) << w.record(gang).message();
  w.end_one();
  EXPECT_NE(w.state(gang), v1::JobRecord::QUEUED);
}

TEST(Starvation, NorIsOneOfHigherPriorityByThoseOfLower) {
  Singles w;
  const std::string first = w.submit(fixed("first"));
  const std::string gang = w.submit(fixed("gang", 2, 1000));
  w.end_one();
  EXPECT_EQ(w.state(first), v1::JobRecord::QUEUED);
  w.end_one();
  EXPECT_NE(w.state(gang), v1::JobRecord::QUEUED);
}

TEST(Starvation, AmongQueuesThatUseAsMuchTheOlderJobComesFirst) {
  Scene s({{"a", 1, 0, 0, ""}, {"b", 1, 0, 0, ""}});
  s.worker("w", 2).queued("gang", {.ranks = 2, .queue = 1}).queued("single", {}).decide();
  EXPECT_EQ(s.started, Ids{"gang"});
}

TEST(Starvation, AQueueDoesNotOvertakeWithMoreThanItIsGuaranteed) {
  Scene s({{"a", 1, 1, 0, ""}, {"b", 1, 0, 0, ""}});
  s.worker("w", 4).queued("older", {.ranks = 3, .queue = 1}).queued("newer", {.ranks = 2}).decide();
  EXPECT_EQ(s.started, Ids{"older"});
}

// Of six slots b is guaranteed two: what cannot be preempted may hold four, and holds three.
struct Fixed : Scene {
  Fixed() : Scene({{"a", 1, 0, 0, ""}, {"b", 1, 2, 0, ""}, {"c", 1, 0, 0, ""}}) {
    worker("w", 6).running("fixed", "w", 3, {.preemptible = false});
  }
};

TEST(Starvation, AHeadThatCannotBePreemptedKeepsItsShareOfWhatGuaranteesLeave) {
  Fixed s;
  s.worker("tiny", 2, 20);
  s.input.queues[1].config.guaranteed = 4;
  s.queued("gang", {.ranks = 2, .preemptible = false});
  // It could not use these slots, but would hold what the gang waits for.
  s.queued("tiny", {.bytes = 20, .preemptible = false}).queued("tiny loan", {.bytes = 20}).queued("loan", {});
  s.decide();
  EXPECT_EQ(s.started, Ids{"tiny loan"});
  EXPECT_EQ(s.why(0), Wait::Kind::kFixed);
  EXPECT_EQ(s.result.waits[0].used, 1U);
  EXPECT_EQ(s.why(1), Wait::Kind::kAhead);
  EXPECT_EQ(s.result.waits[1].name, "jobs/gang");
  EXPECT_EQ(s.why(3), Wait::Kind::kAhead);
}

TEST(Starvation, AndKeepsItFromThoseOfQueuesThatComeAfterItsOwn) {
  Fixed s;
  s.worker("tiny", 2, 20);
  s.input.queues[1].config.guaranteed = 4;
  s.queued("gang", {.ranks = 2, .preemptible = false}).queued("tiny", {.bytes = 20, .queue = 2, .preemptible = false});
  s.input.queued[0].overdue = true;
  s.decide();
  EXPECT_TRUE(s.started.empty());
  EXPECT_EQ(s.why(1), Wait::Kind::kFixed);
}

TEST(Starvation, NobodyMakesRoomForAJobThatGuaranteesKeepWaiting) {
  Fixed s;
  s.running("r", "w", 3).queued("gang", {.ranks = 2, .priority = 1, .preemptible = false}).decide();
  EXPECT_TRUE(s.victims().empty());
}

TEST(Starvation, WhatIsGuaranteedStartsBesideAHeadThatKeepsSlots) {
  Fixed s;
  s.queued("gang", {.ranks = 2, .preemptible = false}).queued("ours", {.queue = 1, .preemptible = false}).decide();
  EXPECT_EQ(s.started, Ids{"ours"});
}

TEST(Starvation, AJobThatWaitsForACordonedWorkerKeepsNothing) {
  Scene s;
  s.worker("w", 1).worker("closed", 1);
  s.fleet[1].slots[0].free = s.fleet[1].slots[0].open = false;
  s.queued("gang", {.ranks = 2}).queued("single", {}).decide();
  EXPECT_EQ(s.started, Ids{"single"});
  EXPECT_EQ(s.why(0), Wait::Kind::kClosed);
  EXPECT_EQ(s.result.waits[0].open, 1U);
}

TEST(Starvation, AJobThatItsQueueCanNeverHoldStopsNobodyBehindIt) {
  Scene s({{"a", 1, 0, 1, ""}});
  s.worker("w", 2).queued("gang", {.ranks = 2}).queued("single", {}).decide();
  EXPECT_EQ(s.started, Ids{"single"});
  EXPECT_EQ(s.why(0), Wait::Kind::kLimit);
}

TEST(Starvation, AnOverdueHeadGoesBeforeAQueueThatUsesLess) {
  Scene s({{"a", 1, 0, 0, ""}, {"b", 1, 0, 0, ""}});
  s.worker("w", 4).running("small", "w", 2);
  s.queued("gang", {.ranks = 2}).queued("single", {.queue = 1});
  EXPECT_EQ(s.decide().started, Ids{"single"});
  s.input.queued[0].overdue = true;
  EXPECT_EQ(s.decide().started, Ids{"gang"});
}

TEST(Starvation, AHeadThatHasWaitedForLongIsOverdue) {
  SchedulerOptions options;
  options.queues = {{"a", 1, 0, 0, "default"}, {"b", 1, 0, 0, "default"}};
  World w(options);
  ASSERT_TRUE(w.join(worker_named("a", 2)).ok());
  ASSERT_TRUE(w.join(worker_named("b", 1, 1 << 21)).ok());
  const auto job = [](const std::string& queue, uint32_t ranks) {
    v1::Job made = job_named(queue, ranks);
    made.mutable_scheduling()->set_queue(queue);
    return made;
  };
  // Queue a always uses the small slot, and so more than b.
  const std::string small = w.submit(job("a", 1));
  const std::string first = w.submit(job("b", 1), 1 << 25);
  const std::string gang = w.submit(job("a", 2), 1 << 25);
  const std::string second = w.submit(job("b", 2), 1 << 25);
  w.take_up("a");
  for (int i = 0; i < 601; ++i) {
    w.tick(1'000);
    w.take_up("a");
    w.take_up("b");
  }
  w.finish("a", first, 0, v1::Finished::SUCCEEDED);
  w.forget_unlisted("a");
  EXPECT_NE(w.state(gang), v1::JobRecord::QUEUED) << w.record(gang).message();
  EXPECT_EQ(w.state(second), v1::JobRecord::QUEUED);
  EXPECT_NE(w.state(small), v1::JobRecord::QUEUED);
}

TEST(Starvation, TheReasonNamesTheJobOfAnotherQueueForWhichSlotsAreKept) {
  Scene s({{"a", 1, 0, 0, ""}, {"b", 1, 0, 0, ""}});
  s.worker("w", 4).running("r", "w", 2, {.queue = 1});
  s.queued("gang", {.ranks = 3}).queued("b", {.queue = 1}).decide();
  EXPECT_EQ(s.why(1), Wait::Kind::kAhead);
  EXPECT_EQ(s.result.waits[1].name, "jobs/gang");
  // But not to another project.
  s.input.queues[0].config.project = "arts";
  s.decide();
  EXPECT_EQ(s.result.waits[1].name, "a job of queue a");
}

}  // namespace
}  // namespace galleon::server

// Making room, through the scheduler: order to stop, checkpoint, hold, start, and no thrash.
#include "absl/strings/match.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

v1::Job job_of(const std::string& name, const std::string& queue, int32_t priority = 0, uint32_t ranks = 1) {
  v1::Job job = job_named(name, ranks);
  job.mutable_scheduling()->set_queue(queue);
  job.mutable_scheduling()->set_priority(priority);
  return job;
}

// One job runs on the only slot when an urgent one comes.
struct Urgent : World {
  Urgent() {
    EXPECT_TRUE(join(worker_named("a", 1)).ok());
    low = submit(job_of("low", "default"));
    take_up("a");
    train("a", low, 0, 3);
    high = submit(job_of("high", "default", 5));
  }
  // The victim writes its checkpoint and goes.
  void make_room() {
    EXPECT_TRUE(publish("a", low, record(low).attempt().epoch(), 9).ok());
    finish("a", low, 0, v1::Finished::STOPPED);
    forget_unlisted("a");
  }
  std::string low;
  std::string high;
};

TEST(Preemption, TheVictimGetsGraceForACheckpointAndGoesOnFromItLater) {
  Urgent w;
  EXPECT_EQ(w.state(w.low), J::PREEMPTING);
  EXPECT_EQ(w.record(w.low).message(), "makes room for jobs/high-2 of priority 5; stopping on a");
  EXPECT_TRUE(w.assignments("a").assignments(0).stop());
  EXPECT_EQ(w.assignments("a").assignments(0).stop_grace_milliseconds(), 30'000U);
  EXPECT_TRUE(absl::StrContains(w.record(w.high).message(), "1 slot of jobs that make room is still to be released"))
      << w.record(w.high).message();
  w.make_room();
  EXPECT_EQ(w.state(w.high), J::RESERVED);
  EXPECT_EQ(w.state(w.low), J::QUEUED);
  EXPECT_EQ(w.record(w.low).failures(), 0U);
  EXPECT_EQ(w.record(w.low).preemptions(), 1U);
  EXPECT_EQ(w.record(w.low).attempt().outcome(), v1::Attempt::STOPPED);
  w.take_up("a");
  w.train("a", w.high, 0, 1);
  w.finish("a", w.high, 0, v1::Finished::SUCCEEDED);
  EXPECT_EQ(w.state(w.low), J::RESERVED);
  EXPECT_EQ(w.record(w.low).attempt().resumed_from_step(), 9U);
}

TEST(Preemption, FreedSlotsAreHeldForThePreemptorOverARestart) {
  Urgent w;
  // Somebody who would fit at once, and a restart in between.
  const std::string sly = w.submit(job_of("sly", "default", 4));
  w.restart();
  EXPECT_TRUE(w.scheduler->state().holding().contains(2));
  ASSERT_TRUE(w.sync("a").ok());
  w.make_room();
  EXPECT_EQ(w.state(w.high), J::RESERVED);
  EXPECT_EQ(w.state(sly), J::QUEUED);
  EXPECT_TRUE(w.scheduler->state().holding().empty());
}

TEST(Preemption, AHoldRunsOutWhenTheSlotNeverComes) {
  Urgent w;
  w.tick(3'000);
  EXPECT_FALSE(w.scheduler->state().holding().empty());
  // The worker dies with its rank; another joins and the urgent job does not wait for ever for the first.
  w.tick(60'000);
  EXPECT_EQ(w.worker("a").state(), v1::Worker::GONE);
  w.tick(80'000);
  EXPECT_TRUE(w.scheduler->state().holding().empty());
  ASSERT_TRUE(w.join(worker_named("b", 1)).ok());
  EXPECT_EQ(w.state(w.high), J::RESERVED);
}

TEST(Preemption, AJobThatMadeRoomIsSparedUntilItHasRunForAWhile) {
  Urgent w;
  w.make_room();
  w.take_up("a");
  w.train("a", w.high, 0, 1);
  w.finish("a", w.high, 0, v1::Finished::SUCCEEDED);
  w.forget_unlisted("a");
  ASSERT_TRUE(w.sync("a").ok());
  w.take_up("a");
  w.train("a", w.low, 0, 10);
  const std::string again = w.submit(job_of("again", "default", 9));
  EXPECT_EQ(w.state(w.low), J::RUNNING);
  EXPECT_TRUE(absl::StrContains(w.record(again).message(), "has made room before and is spared for about 10 min more"))
      << w.record(again).message();
  for (int i = 0; i < 605; ++i) {
    w.tick(1'000);
    ASSERT_TRUE(w.sync("a").ok());
  }
  EXPECT_EQ(w.state(w.low), J::PREEMPTING);
}

TEST(Preemption, ACancelledPreemptorGivesTheSlotsBack) {
  Urgent w;
  ASSERT_TRUE(w.scheduler->cancel(w.now, w.high, "", "").ok());
  w.tick();
  EXPECT_TRUE(w.scheduler->state().holding().empty());
  w.make_room();
  EXPECT_EQ(w.state(w.low), J::RESERVED);
}

TEST(Preemption, AQueueTakesBackWhatItIsGuaranteedFromTheNewestBorrower) {
  SchedulerOptions options;
  options.queues = {{"team", 1, 1, 0, "default"}, {"default", 1, 0, 0, "default"}};
  World w(options);
  ASSERT_TRUE(w.join(worker_named("a", 2)).ok());
  const std::string first = w.submit(job_of("first", "default"));
  w.tick(10);
  const std::string second = w.submit(job_of("second", "default"));
  const std::string ours = w.submit(job_of("ours", "team"));
  EXPECT_EQ(w.state(first), J::RESERVED);
  EXPECT_EQ(w.state(second), J::PREEMPTING);
  EXPECT_TRUE(absl::StrContains(w.record(second).message(), "queue team, which takes back what it is guaranteed"));
  // No more than the guarantee.
  const std::string more = w.submit(job_of("more", "team"));
  EXPECT_EQ(w.state(first), J::RESERVED);
}

}  // namespace
}  // namespace galleon::server

// Faults of the place are not the job's: they count as lost, the next attempt goes elsewhere, and a worker at which
// jobs cannot run is cordoned until a probe passes.
#include "absl/strings/match.h"
#include "tests/server/core/scene.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;
using W = v1::Worker;

constexpr v1::PlaceFault kCertain = v1::PLACE_FAULT_CERTAIN;
constexpr v1::PlaceFault kDoubtful = v1::PLACE_FAULT_DOUBTFUL;

struct Places : World {
  explicit Places(std::vector<std::string> workers = {"a", "b"}) {
    for (const std::string& id : workers) EXPECT_TRUE(join(worker_named(id, 1)).ok());
  }
  std::string place(const std::string& job) { return live_attempt(*scheduler->state().job(job))->ranks(0).worker_id(); }
  // Its rank cannot run where it is; returns where that was.
  std::string fail_place(const std::string& job, v1::PlaceFault fault) {
    const std::string at = place(job);
    take_up(at);
    v1::RankReport& report = *find(at, job, 0);
    report.mutable_finished()->set_place_fault(fault);
    finish(at, job, 0, v1::Finished::FAILED, "data.train: there is no /data");
    forget_unlisted(at);
    return at;
  }
  void wait_out_backoff() {
    for (int i = 0; i < 20; ++i) {
      tick(1'000);
      for (const auto& [id, sequence] : std::map<std::string, uint64_t>(sequences)) EXPECT_TRUE(sync(id).ok());
    }
  }
  void run_and_end(const std::string& job) {
    const std::string at = place(job);
    take_up(at);
    train(at, job, 0, 1);
    finish(at, job, 0, v1::Finished::SUCCEEDED);
    forget_unlisted(at);
    EXPECT_TRUE(sync(at).ok());
  }
  void probe(const std::string& id, uint64_t number, const std::string& fault,
             const std::vector<std::string>& failing = {}) {
    v1::SyncWorkerRequest request;
    request.set_worker_id(id);
    request.set_incarnation("i-" + id);
    request.set_sequence(++sequences[id]);
    request.mutable_probe()->set_number(number);
    request.mutable_probe()->set_fault(fault);
    for (const std::string& job : failing) request.mutable_probe()->add_failing_job_ids(job);
    for (const v1::RankReport& report : held[id]) *request.add_ranks() = report;
    EXPECT_TRUE(scheduler->sync(now, request).ok());
    tick();
  }
};

TEST(Places, AFaultOfThePlaceCountsAsLostAndTheNextAttemptGoesElsewhere) {
  Places w;
  const std::string job = w.submit(job_named("job"));
  const std::string first = w.fail_place(job, kDoubtful);
  EXPECT_EQ(w.state(job), J::QUEUED);
  EXPECT_EQ(w.record(job).failures(), 0U);
  EXPECT_EQ(w.record(job).attempt().outcome(), v1::Attempt::LOST);
  // The worker where it could not run is free again, and stays so.
  w.wait_out_backoff();
  EXPECT_NE(w.place(job), first);
}

TEST(Places, WhereTheOtherWorkerIsBusyTheReasonSaysWhyItWaits) {
  Places w;
  const std::string job = w.submit(job_named("job"));
  const std::string other = w.submit(job_named("other"));
  (void)w.fail_place(job, kDoubtful);
  w.wait_out_backoff();
  EXPECT_EQ(w.state(job), J::QUEUED);
  EXPECT_TRUE(absl::StrContains(w.record(job).message(), "kept from 1 worker where it could not run"))
      << w.record(job).message();
}

TEST(Places, OnTheOnlyWorkerAJobIsTriedAgainAndFailsWithTheReasonWhereItMayBeItsOwn) {
  Places w({"a"});
  const std::string job = w.submit(job_named("job"));
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(w.state(job), J::RESERVED);
    (void)w.fail_place(job, kDoubtful);
    w.wait_out_backoff();
  }
  EXPECT_EQ(w.state(job), J::FAILED);
  EXPECT_TRUE(absl::StrContains(w.record(job).message(), "there is no /data")) << w.record(job).message();
  EXPECT_EQ(w.worker("a").state(), W::READY);
}

TEST(Places, WhatNoJobCouldRunWithEndsNoneAndCordonsTheWorkerUntilAProbePasses) {
  Places w({"a"});
  w.probe("a", 1, "");
  const std::string job = w.submit(job_named("job"));
  for (int i = 0; i < 3; ++i) {
    (void)w.fail_place(job, kCertain);
    w.wait_out_backoff();
  }
  EXPECT_EQ(w.state(job), J::QUEUED);
  EXPECT_EQ(w.worker("a").state(), W::CORDONED);
  EXPECT_TRUE(w.worker("a").ordered_by_scheduler());
  EXPECT_TRUE(absl::StrContains(w.worker("a").message(), "until a probe passes: 3 attempts in a row"))
      << w.worker("a").message();
  w.restart();
  EXPECT_TRUE(w.worker("a").ordered_by_scheduler());
  w.probe("a", 2, "the trainer does not run here");
  EXPECT_EQ(w.worker("a").state(), W::CORDONED);
  w.probe("a", 3, "");
  EXPECT_EQ(w.worker("a").state(), W::READY);
  w.tick(60'000 - 40'000);
  EXPECT_EQ(w.state(job), J::RESERVED);
}

TEST(Places, WhatDoesNotAnswerIsWaitedForWithGrowingPausesAndBlamesNobody) {
  Places w({"a"});
  const std::string job = w.submit(job_named("job"));
  int64_t pause_ms = 0;
  for (int i = 1; i < 20; ++i) {
    ASSERT_EQ(w.state(job), J::RESERVED) << i;
    (void)w.fail_place(job, v1::PLACE_FAULT_OUTSIDE);
    ASSERT_EQ(w.state(job), J::QUEUED) << w.record(job).message();
    EXPECT_EQ(w.record(job).failures(), 0U);
    if (i == 10) w.restart();
    const int64_t from_ms = w.now.mono_ms;
    while (w.state(job) == J::QUEUED) {
      w.tick(500);
      EXPECT_TRUE(w.sync("a").ok());
    }
    EXPECT_GE(w.now.mono_ms - from_ms, std::min<int64_t>(pause_ms, 590'000)) << i;
    pause_ms = w.now.mono_ms - from_ms;
    EXPECT_LE(pause_ms, 602'000);
  }
  EXPECT_EQ(w.worker("a").state(), W::READY);
  (void)w.fail_place(job, v1::PLACE_FAULT_OUTSIDE);
  EXPECT_EQ(w.state(job), J::FAILED);
  EXPECT_TRUE(absl::StrContains(
      w.record(job).message(), "what it needs from outside did not answer in 20 attempts; the last time, rank 0 on a:"))
      << w.record(job).message();
}

TEST(Places, AStepBeyondTheLastBeginsTheCountAnew) {
  Places w({"a"});
  w.scheduler.reset();
  w.options.outside_in_a_row = 2;
  w.scheduler = std::make_unique<Scheduler>(w.options);
  w.sequences.clear();
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string job = w.submit(job_named("job"));
  for (int64_t step : {5, 9, 12}) {
    ASSERT_EQ(w.state(job), J::RESERVED);
    w.take_up("a");
    w.train("a", job, 0, step);
    (void)w.fail_place(job, v1::PLACE_FAULT_OUTSIDE);
    ASSERT_EQ(w.state(job), J::QUEUED) << w.record(job).message();
    w.wait_out_backoff();
  }
}

TEST(Places, AWorkerWhereJobsFailThatThenRunElsewhereIsCordoned) {
  Places w;
  std::string bad;
  std::vector<std::string> jobs;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(bad.empty() ? W::READY : w.worker(bad).state(), W::READY);
    const std::string job = jobs.emplace_back(w.submit(job_named("job")));
    if (bad.empty()) bad = w.place(job);
    if (w.place(job) == bad) (void)w.fail_place(job, kDoubtful);
    w.wait_out_backoff();
    w.run_and_end(job);
  }
  EXPECT_EQ(w.worker(bad).state(), W::CORDONED);
  // What failed there still would.
  w.probe(bad, 1, "", {jobs[1]});
  EXPECT_EQ(w.worker(bad).state(), W::CORDONED);
  w.probe(bad, 2, "", {"another-9"});
  EXPECT_EQ(w.worker(bad).state(), W::READY);
}

TEST(Places, AProbeThatFailsCordonsBeforeAnyJobIsLost) {
  Places w({"a"});
  w.probe("a", 1, "--allow /data: No such file or directory");
  EXPECT_EQ(w.worker("a").state(), W::CORDONED);
  EXPECT_TRUE(absl::StrContains(w.worker("a").message(), "--allow /data")) << w.worker("a").message();
  const std::string job = w.submit(job_named("job"));
  EXPECT_EQ(w.state(job), J::QUEUED);
  w.probe("a", 2, "");
  EXPECT_EQ(w.state(job), J::RESERVED);
}

TEST(Places, WhatAPersonOrderedIsNotTakenBack) {
  Places w({"a"});
  w.probe("a", 1, "no trainer");
  ASSERT_TRUE(w.scheduler->order_worker(w.now, "a", W::CORDONED, "new disk", "").ok());
  w.tick();
  w.probe("a", 2, "");
  EXPECT_EQ(w.worker("a").state(), W::CORDONED);
  EXPECT_FALSE(w.worker("a").ordered_by_scheduler());
}

TEST(Places, NobodyMakesRoomWhereTheJobCouldNotRun) {
  Scene s;
  s.worker("a", 1).worker("b", 1).running("newest", "a", 1, {}, kNever, 10).running("old", "b", 1, {}, kNever, 9000);
  s.queued("urgent", {.priority = 1});
  s.input.queued[0].avoided = {0};
  s.decide();
  EXPECT_EQ(s.victims(), (std::set<std::string>{"old"}));
}

}  // namespace
}  // namespace galleon::server

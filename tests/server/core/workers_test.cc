// Leases, epochs, fencing, and restarts of the scheduler.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

struct Pair : World {
  Pair() {
    EXPECT_TRUE(join(worker_named("a", 1)).ok());
    EXPECT_TRUE(join(worker_named("b", 1)).ok());
    id = submit(job_named("gang", 2));
    take_up("a");
    take_up("b");
    train("a", id, 0, 1);
  }
  // Both daemons speak once a second for so long; `silent` says nothing.
  void pass(int64_t ms, const std::string& silent = "") {
    for (int64_t passed = 0; passed < ms; passed += 1'000) {
      tick(1'000);
      for (const char* worker : {"a", "b"}) {
        if (worker != silent) (void)sync(worker);
      }
    }
  }
  std::string id;
};

TEST(Workers, AnotherVersionAndASecondDaemonOfOneNameAreRefused) {
  World w;
  v1::Worker worker = worker_named("a", 1);
  ASSERT_TRUE(w.join(worker).ok());
  v1::Worker old = worker_named("b", 1);
  old.set_version("0.9");
  const absl::Status version = w.scheduler->register_worker(w.now, old);
  EXPECT_EQ(version.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(version.message(), "0.9") && absl::StrContains(version.message(), "version 1"));
  worker.set_incarnation("other");
  EXPECT_EQ(w.scheduler->register_worker(w.now, worker).code(), absl::StatusCode::kAlreadyExists);
  w.tick(50'000);
  EXPECT_EQ(w.worker("a").state(), v1::Worker::GONE);
  EXPECT_TRUE(w.scheduler->register_worker(w.now, worker).ok());
  EXPECT_EQ(w.sync("a").code(), absl::StatusCode::kAborted);
}

TEST(Workers, MalformedRegistrationsAreRefusedByField) {
  World w;
  for (v1::Worker worker :
       {worker_named("", 1), worker_named("-a", 1), worker_named(".", 1), worker_named("..", 1), worker_named("a/b", 1),
        worker_named("a b", 1), worker_named(std::string(65, 'a'), 1), worker_named("a", 0)}) {
    EXPECT_EQ(w.scheduler->register_worker(w.now, worker).code(), absl::StatusCode::kInvalidArgument);
  }
  v1::Worker worker = worker_named("a", 2);
  worker.mutable_devices()->RemoveLast();
  EXPECT_TRUE(absl::StrContains(w.scheduler->register_worker(w.now, worker).message(), "1 devices for 2 slots"));
}

TEST(Workers, AreNamedAsHostsAre) {
  World w;
  for (const std::string& name : {std::string("GPU_Node-07.example.org"), std::string("7"), std::string(64, 'a')})
    EXPECT_TRUE(w.join(worker_named(name, 1)).ok()) << name;
}

TEST(Workers, OneThatWasShutDownAndHeldNothingHasLeftAndIsNotLost) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  ASSERT_TRUE(w.sync("a", true).ok());
  EXPECT_EQ(w.worker("a").state(), v1::Worker::DRAINING);
  w.tick(w.options.sync_ms + w.options.missed_syncs_ms() + 1);
  EXPECT_EQ(w.worker("a").state(), v1::Worker::GONE);
  EXPECT_EQ(w.worker("a").message(), "has left: it was shut down, and held nothing any more");
  // The next daemon of that name need not wait for a lease.
  v1::Worker next = worker_named("a", 1);
  next.set_incarnation("next");
  EXPECT_TRUE(w.scheduler->register_worker(w.now, next).ok());
}

TEST(Workers, TheNextOfItsNameNeedNotWaitForOneThatLeaves) {
  for (const bool scheduler_ends : {false, true}) {
    World w;
    ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
    ASSERT_TRUE(w.sync("a", true).ok());
    if (scheduler_ends) {
      w.scheduler->shut_down(w.now);
      w.restart();
    }
    v1::Worker next = worker_named("a", 1);
    next.set_incarnation("next");
    EXPECT_TRUE(w.scheduler->register_worker(w.now, next).ok());
    EXPECT_EQ(w.sync("a", true).code(), absl::StatusCode::kAborted) << "the one before";
  }
}

TEST(Workers, ASchedulerThatEndsForgetsNobodyWhoStays) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  ASSERT_TRUE(w.sync("a").ok());
  w.scheduler->shut_down(w.now);
  w.restart();
  EXPECT_NE(w.worker("a").state(), v1::Worker::GONE);
  v1::Worker next = worker_named("a", 1);
  next.set_incarnation("next");
  EXPECT_EQ(w.scheduler->register_worker(w.now, next).code(), absl::StatusCode::kAlreadyExists);
}

TEST(Workers, OneThatFallsSilentWhileItsRanksEndKeepsItsLease) {
  Pair w;
  ASSERT_TRUE(w.sync("b", true).ok());
  w.pass(10'000, "b");
  EXPECT_EQ(w.worker("b").state(), v1::Worker::UNREACHABLE);
}

TEST(Workers, WhenAQueuedJobStartsIsExpectedFromTheNewestSteps) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string first = w.submit(job_named("first"));
  const std::string second = w.submit(job_named("second"));
  w.take_up("a");
  const auto train_at = [&](uint64_t step, double tokens_per_second) {
    v1::StepMetrics& progress = *w.find("a", first, 0)->mutable_progress();
    progress.set_total_steps(1'000);
    progress.set_tokens(step * 100);
    progress.set_tokens_per_second(tokens_per_second);
    progress.set_attempt_steps(step);
    w.train("a", first, 0, step);
  };
  const auto wait_a_while = [&] {
    for (int i = 0; i < 11; ++i) {
      w.tick(1'000);
      ASSERT_TRUE(w.sync("a").ok());
    }
  };
  train_at(1, 1);
  wait_a_while();
  EXPECT_TRUE(absl::StrContains(w.record(second).message(), "expected to start in about 27 h"))
      << w.record(second).message();
  train_at(600, 1'000);
  wait_a_while();
  EXPECT_TRUE(absl::StrContains(w.record(second).message(), "expected to start in about 3"))
      << w.record(second).message();
  EXPECT_FALSE(absl::StrContains(w.record(second).message(), " h")) << w.record(second).message();
}

TEST(Workers, TheLargerTheFleetTheSeldomerAWorkerSpeaksButNeverSoThatItsLeaseIsInDanger) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  EXPECT_EQ(w.scheduler->sync_interval_ms(), w.scheduler->options().sync_ms);
  for (int i = 0; i < 2'000; ++i) ASSERT_TRUE(w.join(worker_named(absl::StrCat("w", i), 1)).ok());
  EXPECT_EQ(w.scheduler->sync_interval_ms(), 2'001);
  EXPECT_EQ(w.scheduler->assignments(w.now, "a", 1).sync_milliseconds(), 2'001U);
  for (int i = 2'000; i < 8'000; ++i) ASSERT_TRUE(w.join(worker_named(absl::StrCat("w", i), 1)).ok());
  EXPECT_EQ(w.scheduler->sync_interval_ms(), w.scheduler->options().lease_ms / 6);
}

TEST(Workers, ASilentWorkerIsFirstUnreachableAndItsJobRunsOn) {
  Pair w;
  w.pass(10'000, "b");
  EXPECT_EQ(w.worker("b").state(), v1::Worker::UNREACHABLE);
  EXPECT_EQ(w.state(w.id), J::RUNNING);
  EXPECT_EQ(w.record(w.id).message(), "worker b is unreachable; the job goes on until its lease ends");
  ASSERT_TRUE(w.sync("b").ok());
  EXPECT_EQ(w.worker("b").state(), v1::Worker::READY);
  EXPECT_EQ(w.record(w.id).message(), "running on a, b");
  EXPECT_EQ(w.record(w.id).attempts(), 1U);
}

TEST(Workers, ALeaseThatEndsLosesTheAttemptAndTheOtherRanksAreReleasedFirst) {
  Pair w;
  ASSERT_TRUE(w.publish("a", w.id, 1, 4).ok());
  w.pass(50'000, "b");
  EXPECT_EQ(w.worker("b").state(), v1::Worker::GONE);
  EXPECT_EQ(w.state(w.id), J::RUNNING);
  EXPECT_TRUE(w.assignments("a").assignments(0).stop());
  // A new worker makes room, but rank 0 has not been released yet.
  ASSERT_TRUE(w.join(worker_named("c", 2)).ok());
  EXPECT_EQ(w.state(w.id), J::RUNNING);
  w.killed("a", w.id, 0, 9, true);
  EXPECT_EQ(w.state(w.id), J::QUEUED);
  w.tick(2'000);
  EXPECT_EQ(w.state(w.id), J::RESERVED);
  EXPECT_EQ(w.record(w.id).attempt().epoch(), 2U);
  EXPECT_EQ(w.record(w.id).attempt().resumed_from_step(), 4U);
  EXPECT_EQ(w.record(w.id).failures(), 0U);
}

TEST(Workers, AZombieThatWakesUpHasNoEffectAndGetsNoWorkBeforeItIsClean) {
  Pair w;
  w.pass(50'000, "a");
  w.killed("b", w.id, 1, 9, true);
  EXPECT_EQ(w.sync("a").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(w.publish("a", w.id, 1, 9).code(), absl::StatusCode::kFailedPrecondition);
  w.forget_unlisted("b");
  w.tick(2'000);
  // It registers again and still holds the old rank: nothing is placed on it.
  const std::vector<v1::RankReport> old = w.held["a"];
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  ASSERT_TRUE(w.sync("b").ok());
  EXPECT_EQ(w.state(w.id), J::QUEUED);
  EXPECT_EQ(w.assignments("a").assignments_size(), 0);
  EXPECT_EQ(w.worker("a").message(), "still ends 1 processes of attempts that are over");
  w.held["a"].clear();
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_EQ(w.state(w.id), J::RESERVED);
  // A late report of the old epoch changes nothing.
  w.held["a"] = old;
  w.held["a"][0].set_phase(v1::RankReport::EXITED);
  w.held["a"][0].mutable_finished()->set_outcome(v1::Finished::SUCCEEDED);
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_EQ(w.state(w.id), J::RESERVED);
}

TEST(Workers, OldReportsAreIgnoredBySequence) {
  Pair w;
  v1::SyncWorkerRequest old;
  old.set_worker_id("a");
  old.set_incarnation("i-a");
  old.set_sequence(1);
  ASSERT_TRUE(w.scheduler->sync(w.now, old).ok());
  EXPECT_EQ(w.state(w.id), J::RUNNING);
  EXPECT_EQ(w.scheduler->state().leased_slots("a").size(), 1U);
}

TEST(Workers, ARankThatItsWorkerForgotLosesTheAttempt) {
  Pair w;
  w.held["a"].clear();
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_TRUE(w.assignments("b").assignments(0).stop());
  w.killed("b", w.id, 1, 9, true);
  EXPECT_EQ(w.state(w.id), J::QUEUED);
  EXPECT_EQ(w.record(w.id).attempt().message(), "rank 0 on a: is no longer known to its worker");
}

TEST(Workers, AReservationThatNobodyTakesUpRunsOut) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string id = w.submit(job_named("x"));
  for (int i = 0; i < 61; ++i) {
    w.tick(1'000);
    ASSERT_TRUE(w.sync("a").ok());
  }
  EXPECT_EQ(w.state(id), J::QUEUED);
  EXPECT_TRUE(absl::StrContains(w.record(id).message(), "worker a did not take up rank 0 within 60 s"))
      << w.record(id).message();
  EXPECT_EQ(w.record(id).failures(), 0U);
}

TEST(Workers, ARankThatOutlivesItsSuccessfulPeerIsEndedAfterAWhile) {
  Pair w;
  w.finish("a", w.id, 0, v1::Finished::SUCCEEDED);
  w.pass(30'000);
  EXPECT_FALSE(w.assignments("b").assignments(0).stop());
  w.pass(31'000);
  EXPECT_TRUE(w.assignments("b").assignments(0).stop());
}

TEST(Workers, ARestartedSchedulerGivesEveryWorkerAWholeLeaseAndTheJobRunsOn) {
  Pair w;
  w.pass(30'000);
  w.restart();
  EXPECT_EQ(w.state(w.id), J::RUNNING);
  EXPECT_EQ(w.worker("a").message(), "has not said yet what it holds");
  w.tick(40'000);
  EXPECT_NE(w.worker("a").state(), v1::Worker::GONE);
  w.train("a", w.id, 0, 30);
  ASSERT_TRUE(w.sync("b").ok());
  EXPECT_EQ(w.record(w.id).progress().step(), 30U);
  EXPECT_EQ(w.record(w.id).attempts(), 1U);
  w.tick(1'000);
  w.finish("a", w.id, 0, v1::Finished::SUCCEEDED);
  w.finish("b", w.id, 1, v1::Finished::SUCCEEDED);
  EXPECT_EQ(w.state(w.id), J::SUCCEEDED);
}

TEST(Workers, AWorkerThatStaysAwayAfterARestartIsLostAfterItsLease) {
  Pair w;
  w.restart();
  w.pass(50'000, "b");
  EXPECT_EQ(w.worker("b").state(), v1::Worker::GONE);
  EXPECT_TRUE(w.assignments("a").assignments(0).stop());
}

TEST(Workers, ARankReleasedBeforeARestartStaysReleased) {
  Pair w;
  w.finish("a", w.id, 0, v1::Finished::SUCCEEDED);
  w.forget_unlisted("a");
  EXPECT_TRUE(w.held["a"].empty());
  w.restart();
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_EQ(w.state(w.id), J::RUNNING);
  w.finish("b", w.id, 1, v1::Finished::SUCCEEDED);
  EXPECT_EQ(w.state(w.id), J::SUCCEEDED);
}

TEST(Workers, CheckpointsAreRecordedOnlyFromRankZeroOfTheLiveEpochAndGoForward) {
  Pair w;
  EXPECT_TRUE(w.publish("a", w.id, 1, 10).ok());
  EXPECT_TRUE(w.publish("a", w.id, 1, 10).ok());
  EXPECT_EQ(w.publish("a", w.id, 1, 5).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(w.publish("b", w.id, 1, 20).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(w.publish("a", w.id, 2, 20).code(), absl::StatusCode::kFailedPrecondition);
  w.restart();
  EXPECT_EQ(w.record(w.id).checkpoint().step(), 10U);
  EXPECT_TRUE(w.publish("a", w.id, 1, 20).ok());
  w.killed("b", w.id, 1, 9);
  EXPECT_EQ(w.publish("a", w.id, 1, 30).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Workers, ASnapshotHoldsEverythingThatTheEventsDid) {
  Pair w;
  ASSERT_TRUE(w.publish("a", w.id, 1, 10).ok());
  (void)w.submit(job_named("queued"));
  Scheduler restored(w.options);
  v1::StateSnapshot copy;
  ASSERT_TRUE(copy.ParseFromString(w.scheduler->state().to_proto().SerializeAsString()));
  restored.restore(copy);
  EXPECT_EQ(restored.state().to_proto().SerializeAsString(), w.scheduler->state().to_proto().SerializeAsString());
  EXPECT_EQ(restored.state().leased_slots("a").size(), 1U);
  EXPECT_EQ(restored.state().queue().size(), 1U);
  EXPECT_EQ(restored.state().active().size(), 1U);
}

TEST(Workers, AJobTooLargeForTheFleetThatCameLaterSaysSoAndLetsOthersPass) {
  World w;
  const std::string large = w.submit(job_named("large"), 200 << 20);
  const std::string small = w.submit(job_named("small"), 50 << 20);
  ASSERT_TRUE(w.join(worker_named("a", 1, 100 << 20)).ok());
  EXPECT_EQ(w.record(large).message(),
            "position 1 of 1; can never fit the fleet as it is: needs 1 slot of 200 MiB; 1 worker, even all idle, has "
            "0 slots of that size, "
            "the largest of 100 MiB");
  EXPECT_EQ(w.state(small), J::RESERVED);
  EXPECT_EQ(w.scheduler->validate(job_named("next"), plan_of(1, 1 << 20), w.now)->message,
            "would wait: position 2 of 2; needs 1 slot of 1 MiB, 0 free on 1 worker");
}

}  // namespace
}  // namespace galleon::server

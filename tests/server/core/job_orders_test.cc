// What people order of jobs that are there: hold, release, requeue, resume, delete; and how long a job waits at most.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/dependency.h"
#include "server/core/refusal.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;
using testing::HasSubstr;
using testing::StartsWith;

v1::HoldJobRequest held(const std::string& id, const std::string& reason = "", bool preempt = false) {
  v1::HoldJobRequest request;
  request.set_name("jobs/" + id);
  request.set_reason(reason);
  request.set_preempt(preempt);
  return request;
}

template <typename Request>
Request of(const std::string& id) {
  Request request;
  request.set_name(id);
  return request;
}

v1::ErrorInfo::Reason reason(const absl::Status& status) {
  EXPECT_FALSE(status.ok());
  return reason_of(status);
}

// One worker with a slot, and a job that trains on it and has published a checkpoint at `step`.
struct Running {
  Running() {
    EXPECT_TRUE(w.join(worker_named("a", 1)).ok());
    job = job_named("x");
    job.mutable_scheduling()->set_max_retries(0);
    id = w.submit(job);
    start();
    EXPECT_TRUE(w.publish("a", id, epoch(), 10).ok());
  }
  uint64_t epoch() { return w.record(id).attempt().epoch(); }
  void start() {
    w.take_up("a");
    w.train("a", id, 0, 10);
  }
  void stop() {
    w.finish("a", id, 0, v1::Finished::STOPPED);
    w.forget_unlisted("a");
    EXPECT_TRUE(w.sync("a").ok());
  }
  World w;
  v1::Job job;
  std::string id;
};

TEST(Hold, AHeldJobDoesNotStartAndBlocksNobody) {
  World w;
  const std::string first = w.submit(job_named("first"));
  ASSERT_TRUE(w.scheduler->hold(w.now, held(first, "new data"), "ann").ok());
  const std::string second = w.submit(job_named("second"));
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  EXPECT_EQ(w.state(first), J::QUEUED);
  EXPECT_EQ(w.state(second), J::RESERVED);
  EXPECT_EQ(w.record(first).message(), "position 1 of 1; is held: new data; galleon release lets it start");
  EXPECT_TRUE(w.record(first).held());
  w.restart();
  EXPECT_TRUE(w.record(first).held());
  // It stays where it was in its queue.
  ASSERT_TRUE(w.scheduler->release(w.now, of<v1::ReleaseJobRequest>(first)).ok());
  ASSERT_TRUE(w.join(worker_named("b", 1)).ok());
  EXPECT_EQ(w.state(first), J::RESERVED);
  EXPECT_FALSE(w.record(first).held());
}

TEST(Hold, IsGivenOnceAndTakenBackOnce) {
  World w;
  const std::string id = w.submit(job_named("x"));
  ASSERT_TRUE(w.scheduler->hold(w.now, held(id, "why"), "ann").ok());
  w.collect();
  const size_t events = w.journal.size();
  ASSERT_TRUE(w.scheduler->hold(w.now, held(id)).ok());
  w.collect();
  EXPECT_EQ(w.journal.size(), events);
  ASSERT_TRUE(w.scheduler->hold(w.now, held(id, "another reason")).ok());
  EXPECT_EQ(w.record(id).hold_reason(), "another reason");
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(w.scheduler->release(w.now, of<v1::ReleaseJobRequest>(id)).ok());
  w.collect();
  EXPECT_EQ(w.journal.size(), events + 2);
}

TEST(Hold, OfARunningJobIsRefusedOrPreemptsIt) {
  Running r;
  EXPECT_EQ(reason(r.w.scheduler->hold(r.w.now, held(r.id))), v1::ErrorInfo::JOB_HOLDS_SLOTS);
  EXPECT_EQ(r.w.state(r.id), J::RUNNING);
  ASSERT_TRUE(r.w.scheduler->hold(r.w.now, held(r.id, "why", true)).ok());
  EXPECT_EQ(r.w.state(r.id), J::PREEMPTING);
  r.stop();
  EXPECT_EQ(r.w.state(r.id), J::QUEUED);
  EXPECT_TRUE(r.w.record(r.id).held());
  ASSERT_TRUE(r.w.scheduler->release(r.w.now, of<v1::ReleaseJobRequest>(r.id)).ok());
  r.w.tick();
  EXPECT_EQ(r.w.state(r.id), J::RESERVED);
  EXPECT_EQ(r.w.record(r.id).attempt().resumed_from_step(), 10U);
}

TEST(Hold, EndsWithTheJob) {
  World w;
  const std::string id = w.submit(job_named("x"));
  ASSERT_TRUE(w.scheduler->hold(w.now, held(id)).ok());
  ASSERT_TRUE(w.scheduler->cancel(w.now, id, "", "").ok());
  EXPECT_FALSE(w.record(id).held());
  EXPECT_EQ(reason(w.scheduler->hold(w.now, held(id))), v1::ErrorInfo::JOB_HAS_ENDED);
  EXPECT_EQ(reason(w.scheduler->release(w.now, of<v1::ReleaseJobRequest>(id))), v1::ErrorInfo::JOB_HAS_ENDED);
  EXPECT_EQ(reason(w.scheduler->hold(w.now, held("none-7"))), v1::ErrorInfo::JOB_NOT_FOUND);
}

TEST(Requeue, HandsTheSlotsBackWithTimeForACheckpointAndGoesOnFromIt) {
  Running r;
  ASSERT_TRUE(r.w.scheduler->requeue(r.w.now, of<v1::RequeueJobRequest>(r.id), "ann").ok());
  const v1::Assignment ordered = r.w.assignments("a").assignments(0);
  EXPECT_TRUE(ordered.stop());
  EXPECT_GT(ordered.stop_grace_milliseconds(), 0U);
  EXPECT_EQ(reason(r.w.scheduler->requeue(r.w.now, of<v1::RequeueJobRequest>(r.id))),
            v1::ErrorInfo::JOB_HOLDS_NO_SLOTS);
  ASSERT_TRUE(r.w.publish("a", r.id, r.epoch(), 12).ok());
  r.stop();
  // Nobody else waits, so that it starts again at once.
  EXPECT_EQ(r.w.state(r.id), J::RESERVED);
  EXPECT_EQ(r.w.record(r.id).attempt().resumed_from_step(), 12U);
  EXPECT_EQ(r.w.record(r.id).failures(), 0U);
  EXPECT_EQ(r.w.record(r.id).preemptions(), 0U);
}

TEST(Requeue, OfAJobThatWaitsIsRefused) {
  World w;
  const std::string id = w.submit(job_named("x"));
  EXPECT_EQ(reason(w.scheduler->requeue(w.now, of<v1::RequeueJobRequest>(id))), v1::ErrorInfo::JOB_HOLDS_NO_SLOTS);
}

TEST(Resume, AFailedJobGoesOnFromItsCheckpointWithItsRetriesAnew) {
  Running r;
  r.w.finish("a", r.id, 0, v1::Finished::FAILED, "a bad row");
  r.w.forget_unlisted("a");
  ASSERT_EQ(r.w.state(r.id), J::FAILED);
  ASSERT_TRUE(r.w.scheduler->resume(r.w.now, of<v1::ResumeJobRequest>(r.id), "ann").ok());
  r.w.tick();
  EXPECT_EQ(r.w.state(r.id), J::RESERVED);
  const J record = r.w.record(r.id);
  EXPECT_EQ(record.attempt().resumed_from_step(), 10U);
  EXPECT_EQ(record.attempts(), 2U);
  EXPECT_EQ(record.failures(), 1U);
  EXPECT_EQ(record.resumptions(), 1U);
  EXPECT_EQ(record.end_time_ms(), 0);
  r.start();
  r.w.finish("a", r.id, 0, v1::Finished::FAILED, "a bad row");
  EXPECT_EQ(r.w.state(r.id), J::FAILED);
  EXPECT_EQ(r.w.record(r.id).message(), "failed 1 times, max_retries is 0; the last time, rank 0 on a: a bad row");
  const std::string live = r.w.scheduler->state().to_proto().SerializeAsString();
  r.w.restart();
  EXPECT_EQ(r.w.scheduler->state().to_proto().SerializeAsString(), live);
}

TEST(Resume, GivesATimeLimitAnew) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  v1::Job job = job_named("x");
  job.mutable_scheduling()->set_time_limit(60);
  const std::string id = w.submit(job);
  const auto run_into_it = [&] {
    w.take_up("a");
    w.train("a", id, 0, 1);
    for (int i = 0; i < 6; ++i) {
      w.tick(9'000);
      ASSERT_TRUE(w.sync("a").ok());
    }
    w.finish("a", id, 0, v1::Finished::STOPPED);
    w.forget_unlisted("a");
    ASSERT_TRUE(w.sync("a").ok());
    EXPECT_EQ(w.record(id).message(), "ran into its time limit of 1m");
  };
  run_into_it();
  ASSERT_TRUE(w.scheduler->resume(w.now, of<v1::ResumeJobRequest>(id)).ok());
  w.tick();
  ASSERT_EQ(w.state(id), J::RESERVED);
  w.take_up("a");
  w.train("a", id, 0, 1);
  w.tick(9'000);
  EXPECT_EQ(w.state(id), J::RUNNING);
}

TEST(Resume, IsForWhatFailedOrWasCancelledAlone) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string id = w.submit(job_named("x"));
  EXPECT_EQ(reason(w.scheduler->resume(w.now, of<v1::ResumeJobRequest>(id))), v1::ErrorInfo::JOB_HAS_NOT_ENDED);
  w.take_up("a");
  w.train("a", id, 0, 1);
  w.finish("a", id, 0, v1::Finished::SUCCEEDED);
  EXPECT_EQ(reason(w.scheduler->resume(w.now, of<v1::ResumeJobRequest>(id))), v1::ErrorInfo::JOB_HAS_ENDED);
  const std::string cancelled = w.submit(job_named("y"));
  ASSERT_TRUE(w.scheduler->cancel(w.now, cancelled, "", "").ok());
  ASSERT_TRUE(w.sync("a").ok());
  ASSERT_EQ(w.state(cancelled), J::CANCELLED);
  ASSERT_TRUE(w.scheduler->resume(w.now, of<v1::ResumeJobRequest>(cancelled)).ok());
  EXPECT_NE(w.state(cancelled), J::CANCELLED);
}

TEST(Delete, TakesTheRecordAndNamesTheFolderUntilItIsGone) {
  Running r;
  EXPECT_EQ(reason(r.w.scheduler->remove(r.w.now, of<v1::DeleteJobRequest>(r.id), "/jobs").status()),
            v1::ErrorInfo::JOB_HAS_NOT_ENDED);
  r.w.finish("a", r.id, 0, v1::Finished::SUCCEEDED);
  v1::DeleteJobRequest request = of<v1::DeleteJobRequest>(r.id);
  request.set_keep_checkpoints(true);
  const absl::StatusOr<v1::DeleteJobResponse> deleted = r.w.scheduler->remove(r.w.now, request, "/jobs", "ann");
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->left_folder(), "/jobs/" + r.id + "/checkpoints");
  EXPECT_EQ(r.w.scheduler->state().job(r.id), nullptr);
  // Known over a crash, until it is said to be gone.
  r.w.restart();
  ASSERT_EQ(r.w.scheduler->state().removals().size(), 1U);
  Scheduler restored(r.w.options);
  restored.restore(r.w.scheduler->state().to_proto());
  const v1::FolderRemoval& removal = restored.state().removals().at(r.id);
  EXPECT_EQ(removal.folder(), "/jobs/" + r.id);
  EXPECT_EQ(removal.kept(), "checkpoints");
  r.w.scheduler->folder_removed(r.w.now, r.id);
  r.w.restart();
  EXPECT_TRUE(r.w.scheduler->state().removals().empty());
}

TEST(Delete, LeavesAFolderThatIsNotBelowTheJobsFolder) {
  Running r;
  r.w.finish("a", r.id, 0, v1::Finished::SUCCEEDED);
  const absl::StatusOr<v1::DeleteJobResponse> deleted =
      r.w.scheduler->remove(r.w.now, of<v1::DeleteJobRequest>(r.id), "/elsewhere");
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->left_folder(), "/jobs/" + r.id);
  EXPECT_EQ(r.w.scheduler->state().removals().at(r.id).folder(), "");
}

TEST(Delete, IsRefusedWhereAnotherJobNeedsIt) {
  World w;
  const std::string base = w.submit(job_named("base"));
  ASSERT_TRUE(w.scheduler->cancel(w.now, base, "", "").ok());
  v1::Job heir = job_named("heir");
  heir.mutable_scheduling()->add_after("any:" + base);
  const std::string waiting = w.submit(heir);
  const absl::Status refused = w.scheduler->remove(w.now, of<v1::DeleteJobRequest>(base), "/jobs").status();
  EXPECT_EQ(reason(refused), v1::ErrorInfo::JOB_IS_NEEDED);
  EXPECT_EQ(refused.message(), "jobs/base-1 is needed by jobs/heir-2, which comes after it");
  ASSERT_TRUE(w.scheduler->cancel(w.now, waiting, "", "").ok());
  EXPECT_TRUE(w.scheduler->remove(w.now, of<v1::DeleteJobRequest>(base), "/jobs").ok());
}

TEST(Delete, IsRefusedWhereAnotherBeginsWithItsCheckpointUnlessThatStays) {
  Running r;
  r.w.finish("a", r.id, 0, v1::Finished::SUCCEEDED);
  r.w.forget_unlisted("a");
  v1::Job next = job_named("next");
  next.mutable_checkpoint()->set_resume("/jobs/" + r.id + "/checkpoints/step-10");
  Scheduler::Submission submission{next, plan_of(1, 1 << 20), "", "/jobs", r.w.scheduler->next_number()};
  submission.readable_folder = "/jobs/" + r.id;
  const absl::StatusOr<std::string> id = r.w.scheduler->submit(r.w.now, submission);
  ASSERT_TRUE(id.ok()) << id.status();
  r.w.tick();
  // Its workers may read it, as the scheduler says.
  EXPECT_EQ(r.w.assignments("a").assignments(0).readable_folder(), "/jobs/" + r.id);
  v1::DeleteJobRequest request = of<v1::DeleteJobRequest>(r.id);
  const absl::Status refused = r.w.scheduler->remove(r.w.now, request, "/jobs").status();
  EXPECT_EQ(reason(refused), v1::ErrorInfo::JOB_IS_NEEDED);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("which begins with its checkpoint"));
  request.set_keep_checkpoints(true);
  EXPECT_TRUE(r.w.scheduler->remove(r.w.now, request, "/jobs").ok());
}

TEST(Delete, IsTheLastThatIsToldOfTheJob) {
  World w;
  const std::string id = w.submit(job_named("x"));
  ASSERT_TRUE(w.scheduler->cancel(w.now, id, "", "").ok());
  const uint64_t before = w.scheduler->state().revision();
  ASSERT_TRUE(w.scheduler->remove(w.now, of<v1::DeleteJobRequest>(id), "/jobs", "ann").ok());
  std::vector<v1::Event> events;
  ASSERT_TRUE(w.scheduler->state().events_after(before, "", 10, events));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].subject(), "jobs/" + id);
  EXPECT_EQ(events[0].kind(), "deleted");
  EXPECT_EQ(events[0].actor(), "ann");
}

TEST(After, AnyEndAndAFailureCanBeWaitedForToo) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string base = w.submit(job_named("base"));
  const auto behind = [&](const std::string& entry) {
    v1::Job job = job_named("behind");
    job.mutable_scheduling()->add_after(entry);
    return w.submit(job);
  };
  const std::string any = behind("any:" + base);
  const std::string failed = behind("failed:jobs/" + base);
  EXPECT_THAT(w.record(any).message(), HasSubstr("waits for jobs/base-1 to end"));
  EXPECT_THAT(w.record(failed).message(), HasSubstr("waits for jobs/base-1 to fail"));
  w.take_up("a");
  w.train("a", base, 0, 1);
  w.finish("a", base, 0, v1::Finished::SUCCEEDED);
  EXPECT_EQ(w.state(any), J::RESERVED);
  EXPECT_EQ(w.state(failed), J::CANCELLED);
  EXPECT_EQ(w.record(failed).message(), "was to run after a failure of jobs/base-1, which ended as SUCCEEDED");
}

TEST(After, AFailureLetsThoseStartThatWaitForIt) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string base = w.submit(job_named("base"));
  v1::Job job = job_named("repair");
  job.mutable_scheduling()->add_after("failed:" + base);
  const std::string repair = w.submit(job);
  w.take_up("a");
  w.train("a", base, 0, 1);
  w.finish("a", base, 0, v1::Finished::FAILED, "broken", true);
  EXPECT_EQ(w.state(repair), J::RESERVED);
}

TEST(After, AnUnknownJobIsRefusedWhateverItsEnd) {
  World w;
  v1::Job job = job_named("x");
  job.mutable_scheduling()->add_after("any:nothing-7");
  EXPECT_THAT(std::string(w.scheduler->check_scheduling(job).message()), HasSubstr("\"any:nothing-7\""));
}

TEST(QueueTimeout, AJobThatDoesNotStartInTimeFailsAndSaysWhy) {
  World w;
  v1::Job job = job_named("x");
  job.mutable_scheduling()->set_queue_timeout(60);
  const std::string id = w.submit(job);
  w.tick(59'000);
  EXPECT_EQ(w.state(id), J::QUEUED);
  w.tick(2'000);
  EXPECT_EQ(w.state(id), J::FAILED);
  EXPECT_THAT(w.record(id).message(),
              StartsWith("did not start within its queue_timeout of 1m; position 1 of 1; needs"));
}

TEST(QueueTimeout, NeitherWhoIsHeldNorWhoHasStartedOnceRunsIntoIt) {
  Running r;
  r.job.mutable_scheduling()->set_queue_timeout(60);
  const std::string waiting = r.w.submit(r.job);
  ASSERT_TRUE(r.w.scheduler->hold(r.w.now, held(waiting)).ok());
  const auto pass = [&r](int64_t ms) {
    for (; ms > 0; ms -= 10'000) {
      r.w.tick(10'000);
      ASSERT_TRUE(r.w.sync("a").ok());
    }
  };
  pass(100'000);
  EXPECT_EQ(r.w.state(waiting), J::QUEUED);
  // From its release it has the whole time again.
  ASSERT_TRUE(r.w.scheduler->release(r.w.now, of<v1::ReleaseJobRequest>(waiting)).ok());
  pass(50'000);
  EXPECT_EQ(r.w.state(waiting), J::QUEUED);
  ASSERT_TRUE(r.w.scheduler->hold(r.w.now, held(r.id, "", true)).ok());
  r.stop();
  EXPECT_EQ(r.w.state(waiting), J::RESERVED);
  r.w.take_up("a");
  r.w.train("a", waiting, 0, 1);
  ASSERT_TRUE(r.w.scheduler->requeue(r.w.now, of<v1::RequeueJobRequest>(waiting)).ok());
  v1::Job first = job_named("first");
  first.mutable_scheduling()->set_priority(9);
  const std::string other = r.w.submit(first);
  r.w.finish("a", waiting, 0, v1::Finished::STOPPED);
  r.w.forget_unlisted("a");
  ASSERT_TRUE(r.w.sync("a").ok());
  ASSERT_EQ(r.w.state(other), J::RESERVED);
  r.w.take_up("a");
  r.w.train("a", other, 0, 1);
  pass(100'000);
  EXPECT_EQ(r.w.state(waiting), J::QUEUED);
}

TEST(AllowPending, AJobThatNoWorkerCouldHoldWaitsForOneThatCan) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  Scheduler::Submission submission{job_named("x", 2), plan_of(2, 1 << 20), "", "/jobs", w.scheduler->next_number()};
  const absl::Status refused = w.scheduler->submit(w.now, submission).status();
  EXPECT_EQ(reason(refused), v1::ErrorInfo::NEVER_FITS);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--allow-pending"));
  submission.allow_pending = true;
  const absl::StatusOr<std::string> id = w.scheduler->submit(w.now, submission);
  ASSERT_TRUE(id.ok()) << id.status();
  w.tick();
  EXPECT_EQ(w.state(*id), J::QUEUED);
  // What others could use is theirs meanwhile.
  const std::string small = w.submit(job_named("small"));
  EXPECT_EQ(w.state(small), J::RESERVED);
  ASSERT_TRUE(w.join(worker_named("b", 2)).ok());
  EXPECT_EQ(w.state(*id), J::RESERVED);
}

TEST(Forget, AWorkerThatIsGoneLeavesTheListAndNoOther) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  ASSERT_TRUE(w.scheduler->order_worker(w.now, "a", v1::Worker::CORDONED, "", "").ok());
  const auto forget = [&w] {
    return w.scheduler->forget_worker(w.now, of<v1::ForgetWorkerRequest>("workers/a"), "op");
  };
  EXPECT_EQ(reason(forget()), v1::ErrorInfo::WORKER_NOT_GONE);
  for (int i = 0; i < 12; ++i) w.tick(10'000);
  ASSERT_EQ(w.worker("a").state(), v1::Worker::GONE);
  ASSERT_TRUE(forget().ok());
  EXPECT_EQ(w.scheduler->state().worker("a"), nullptr);
  EXPECT_EQ(reason(forget()), v1::ErrorInfo::WORKER_NOT_FOUND);
  w.restart();
  EXPECT_EQ(w.scheduler->state().worker("a"), nullptr);
}

TEST(Drained, IsTheStateOfAWorkerThatHoldsNothingMore) {
  Running r;
  ASSERT_TRUE(r.w.scheduler->order_worker(r.w.now, "a", v1::Worker::DRAINING, "disk", "").ok());
  EXPECT_EQ(r.w.worker("a").state(), v1::Worker::DRAINING);
  r.stop();
  EXPECT_EQ(r.w.worker("a").state(), v1::Worker::DRAINED);
  EXPECT_EQ(r.w.worker("a").message(), "drained: disk");
  ASSERT_TRUE(r.w.scheduler->order_worker(r.w.now, "a", v1::Worker::READY, "", "").ok());
  EXPECT_EQ(r.w.worker("a").state(), v1::Worker::READY);
}

}  // namespace
}  // namespace galleon::server

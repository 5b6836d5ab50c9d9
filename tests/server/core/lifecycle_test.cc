// A job's way from submit to its end, and what stops it on the way.
#include "absl/strings/match.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

// A gang of two ranks on workers a and b, training.
struct Gang : World {
  explicit Gang(SchedulerOptions wanted = {}, uint32_t retries = 3) : World(std::move(wanted)) {
    EXPECT_TRUE(join(worker_named("a", 1)).ok());
    EXPECT_TRUE(join(worker_named("b", 1)).ok());
    v1::Job job = job_named("gang", 2);
    job.mutable_scheduling()->set_max_retries(retries);
    id = submit(job);
    start();
  }
  void start() {
    take_up("a");
    take_up("b");
    train("a", id, 0, 1);
    EXPECT_EQ(state(id), J::RUNNING);
  }
  // Both ranks end after a stop; the daemons drop what is no longer listed.
  void release(const std::string& worker, uint32_t rank) {
    killed(worker, id, rank, 9, true);
    forget_unlisted(worker);
  }
  v1::Assignment assignment(const std::string& worker) {
    const v1::SyncWorkerResponse response = assignments(worker);
    return response.assignments_size() == 0 ? v1::Assignment() : response.assignments(0);
  }
  std::string id;
};

TEST(Lifecycle, AJobGoesThroughEveryStateToSuccess) {
  World w;
  const std::string id = w.submit(job_named("tiny"));
  EXPECT_EQ(id, "tiny-1");
  EXPECT_EQ(w.state(id), J::QUEUED);
  EXPECT_EQ(w.record(id).message(), "position 1 of 1; needs 1 slot of 1 MiB, no worker is registered");
  EXPECT_EQ(w.record(id).queue_position(), 1U);
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  EXPECT_EQ(w.state(id), J::RESERVED);
  EXPECT_EQ(w.assignments("a").assignments(0).job().name(), "tiny");
  w.take_up("a");
  EXPECT_EQ(w.state(id), J::STARTING);
  EXPECT_FALSE(w.assignments("a").assignments(0).has_job());
  w.train("a", id, 0, 5);
  EXPECT_EQ(w.state(id), J::RUNNING);
  EXPECT_EQ(w.record(id).progress().step(), 5U);
  v1::RankReport& report = *w.find("a", id, 0);
  report.mutable_finished()->set_train_loss(2.5);
  report.mutable_finished()->set_step(10);
  report.mutable_finished()->mutable_evaluation()->set_validation_loss(2.75);
  w.finish("a", id, 0, v1::Finished::SUCCEEDED, "10 steps are done");
  EXPECT_EQ(w.state(id), J::SUCCEEDED);
  EXPECT_EQ(w.assignments("a").assignments_size(), 0);
  EXPECT_TRUE(w.scheduler->state().leased_slots("a").empty());
  w.restart();
  const J record = w.record(id);
  EXPECT_EQ(record.state(), J::SUCCEEDED);
  EXPECT_EQ(record.final_train_loss(), 2.5);
  EXPECT_EQ(record.evaluation().validation_loss(), 2.75);
  EXPECT_EQ(record.attempt().last_step(), 10U);
  EXPECT_EQ(record.attempt().outcome(), v1::Attempt::SUCCEEDED);
}

TEST(Lifecycle, RendezvousIsCompleteOnlyWithEveryRanksPayload) {
  Gang w;
  w.find("a", w.id, 0)->set_rendezvous_payload("zero");
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_EQ(w.assignment("b").rendezvous_payloads_size(), 0);
  const uint64_t before = w.scheduler->assignments_revision("a");
  w.find("b", w.id, 1)->set_rendezvous_payload("one");
  ASSERT_TRUE(w.sync("b").ok());
  ASSERT_EQ(w.assignment("a").rendezvous_payloads_size(), 2);
  EXPECT_EQ(w.assignment("a").rendezvous_payloads(0), "zero");
  EXPECT_EQ(w.assignment("b").rendezvous_payloads(1), "one");
  EXPECT_NE(w.scheduler->assignments_revision("a"), before);
  w.restart();
  ASSERT_TRUE(w.sync("a").ok());
  ASSERT_TRUE(w.sync("b").ok());
  EXPECT_EQ(w.assignment("a").rendezvous_payloads_size(), 2);
}

TEST(Lifecycle, AFailedRankStopsTheOthersAtOnceAndTheJobWaitsForTheirRelease) {
  Gang w;
  w.finish("a", w.id, 0, v1::Finished::FAILED, "loss is not a number");
  EXPECT_TRUE(w.assignment("b").stop());
  EXPECT_EQ(w.assignment("b").stop_grace_milliseconds(), 0U);
  EXPECT_EQ(w.state(w.id), J::RUNNING);
  EXPECT_EQ(w.record(w.id).message(), "rank 0 on a: loss is not a number; waiting for b to release its slots");
  w.tick(20'000);
  EXPECT_EQ(w.state(w.id), J::RUNNING);
  w.release("b", 1);
  EXPECT_EQ(w.state(w.id), J::QUEUED);
  EXPECT_EQ(w.record(w.id).failures(), 1U);
  EXPECT_TRUE(absl::StrContains(w.record(w.id).message(), "tries again in 1 s")) << w.record(w.id).message();
}

TEST(Lifecycle, AKilledRankIsNotTheJobsFailureThoughItsPeersFailFirst) {
  Gang w;
  w.finish("a", w.id, 0, v1::Finished::FAILED, "connection reset by rank 1");
  w.killed("b", w.id, 1, 9);
  EXPECT_EQ(w.state(w.id), J::QUEUED);
  EXPECT_EQ(w.record(w.id).failures(), 0U);
  EXPECT_EQ(w.record(w.id).attempt().outcome(), v1::Attempt::LOST);
  EXPECT_EQ(w.record(w.id).attempt().exit_signal(), 9);
}

TEST(Lifecycle, AFailedDeviceIsNotTheJobsFailureThoughItsPeersFailFirst) {
  Gang w;
  w.finish("a", w.id, 0, v1::Finished::FAILED, "connection reset by rank 1");
  v1::RankReport& report = *w.find("b", w.id, 1);
  report.set_device_failed(true);
  report.set_exit_code(74);
  w.finish("b", w.id, 1, v1::Finished::FAILED, "the device failed: uncorrectable");
  EXPECT_EQ(w.state(w.id), J::QUEUED);
  EXPECT_EQ(w.record(w.id).failures(), 0U);
  EXPECT_EQ(w.record(w.id).attempt().outcome(), v1::Attempt::LOST);
  EXPECT_TRUE(absl::StrContains(w.record(w.id).message(), "the device failed: uncorrectable"));
}

TEST(Lifecycle, RetriesAreCountedOverRestartsAndEndTheJob) {
  Gang w({}, 2);
  for (uint32_t failure = 1; failure <= 3; ++failure) {
    w.finish("a", w.id, 0, v1::Finished::FAILED, "bad");
    w.release("b", 1);
    w.forget_unlisted("a");
    EXPECT_EQ(w.record(w.id).failures(), failure);
    EXPECT_EQ(w.record(w.id).attempts(), failure);
    if (failure == 3) break;
    w.restart();
    ASSERT_TRUE(w.sync("a").ok());
    ASSERT_TRUE(w.sync("b").ok());
    EXPECT_EQ(w.state(w.id), J::QUEUED);
    w.tick(failure == 1 ? 1'000 : 2'000);
    ASSERT_TRUE(w.sync("a").ok());
    ASSERT_TRUE(w.sync("b").ok());
    EXPECT_EQ(w.state(w.id), J::RESERVED) << w.record(w.id).message();
    w.start();
  }
  EXPECT_EQ(w.state(w.id), J::FAILED);
  EXPECT_EQ(w.record(w.id).message(), "failed 3 times, max_retries is 2; the last time, rank 0 on a: bad");
}

TEST(Lifecycle, APermanentFailureEndsTheJobAtOnce) {
  Gang w;
  w.finish("a", w.id, 0, v1::Finished::FAILED, "data.train: no such file", true);
  w.release("b", 1);
  EXPECT_EQ(w.state(w.id), J::FAILED);
  EXPECT_EQ(w.record(w.id).message(), "rank 0 on a: data.train: no such file");
}

TEST(Lifecycle, ThreeLostAttemptsWithoutProgressFailTheJobAndProgressStartsTheCountAnew) {
  Gang w;
  const auto lose = [&w](uint64_t step) {
    if (step > 0) w.train("a", w.id, 0, step);
    w.killed("a", w.id, 0, 9);
    w.release("b", 1);
    w.forget_unlisted("a");
    w.tick(60'000 - 40'000);
    ASSERT_TRUE(w.sync("a").ok());
    ASSERT_TRUE(w.sync("b").ok());
  };
  // Step 1 is reached in each; only the first time it is new.
  lose(0);
  for (int i = 0; i < 2; ++i) {
    w.start();
    lose(0);
  }
  w.start();
  lose(7);
  EXPECT_EQ(w.scheduler->state().job(w.id)->lost_in_a_row(), 0U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(w.state(w.id), J::RESERVED) << w.record(w.id).message();
    w.start();
    lose(0);
  }
  EXPECT_EQ(w.state(w.id), J::FAILED);
  EXPECT_TRUE(
      absl::StartsWith(w.record(w.id).message(), "3 attempts in a row were lost without a new checkpoint or step"));
  EXPECT_EQ(w.record(w.id).failures(), 0U);
}

TEST(Lifecycle, AQueuedJobIsCancelledAtOnceAndStaysSo) {
  World w;
  const std::string id = w.submit(job_named("x"));
  EXPECT_EQ(w.scheduler->cancel(w.now, id, "999", "").code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(w.scheduler->cancel(w.now, id, w.record(id).etag(), "not needed").ok());
  EXPECT_EQ(w.state(id), J::CANCELLED);
  EXPECT_EQ(w.record(id).message(), "cancelled: not needed");
  EXPECT_EQ(w.scheduler->cancel(w.now, id, "", "").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(w.scheduler->cancel(w.now, "none-1", "", "").code(), absl::StatusCode::kNotFound);
}

TEST(Lifecycle, ARunningJobIsCancelledWithGraceThenWithout) {
  Gang w;
  ASSERT_TRUE(w.scheduler->cancel(w.now, w.id, "", "").ok());
  w.tick();
  EXPECT_EQ(w.state(w.id), J::CANCELLING);
  EXPECT_TRUE(w.assignment("a").stop());
  EXPECT_EQ(w.assignment("a").stop_grace_milliseconds(), 30'000U);
  w.tick(10'000);
  EXPECT_EQ(w.assignment("b").stop_grace_milliseconds(), 20'000U);
  // A checkpoint within the grace time still counts.
  // What others read and remove lies in the job's own folder.
  for (const std::string& folder :
       {std::string("/"), std::string("/etc"), "/jobs/" + w.id, "/jobs/" + w.id + "/../other-9/checkpoints/step-3",
        "/jobs/" + w.id + "x/step-3", std::string("checkpoints/step-3")})
    EXPECT_EQ(w.publish("a", w.id, 1, 3, folder).code(), absl::StatusCode::kInvalidArgument) << folder;
  EXPECT_TRUE(w.publish("a", w.id, 1, 3).ok());
  w.finish("a", w.id, 0, v1::Finished::STOPPED);
  EXPECT_EQ(w.state(w.id), J::CANCELLING);
  ASSERT_TRUE(w.sync("b").ok());
  w.tick(22'000);
  EXPECT_EQ(w.assignment("b").stop_grace_milliseconds(), 0U);
  EXPECT_FALSE(w.publish("a", w.id, 1, 4).ok());
  w.release("b", 1);
  EXPECT_EQ(w.state(w.id), J::CANCELLED);
  EXPECT_EQ(w.record(w.id).attempt().outcome(), v1::Attempt::STOPPED);
}

TEST(Lifecycle, ACancelBeforeAnyWorkerTookTheJobUpNeedsOneMoreReportFromEach) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string id = w.submit(job_named("x"));
  ASSERT_EQ(w.assignments("a").assignments_size(), 1);
  ASSERT_TRUE(w.scheduler->cancel(w.now, id, "", "").ok());
  EXPECT_EQ(w.assignments("a").assignments_size(), 0);
  EXPECT_EQ(w.state(id), J::CANCELLING);
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_EQ(w.state(id), J::CANCELLED);
}

TEST(Lifecycle, AWorkerThatShutsDownHandsItsJobsBackWithoutAFailure) {
  Gang w;
  ASSERT_TRUE(w.sync("b", true).ok());
  EXPECT_EQ(w.state(w.id), J::PREEMPTING);
  EXPECT_EQ(w.worker("b").state(), v1::Worker::DRAINING);
  EXPECT_TRUE(w.assignment("a").stop());
  EXPECT_GT(w.assignment("a").stop_grace_milliseconds(), 0U);
  EXPECT_TRUE(w.publish("a", w.id, 1, 6).ok());
  w.finish("a", w.id, 0, v1::Finished::STOPPED);
  w.find("b", w.id, 1)->set_phase(v1::RankReport::EXITED);
  w.find("b", w.id, 1)->mutable_finished()->set_outcome(v1::Finished::STOPPED);
  ASSERT_TRUE(w.sync("b", true).ok());
  EXPECT_EQ(w.state(w.id), J::QUEUED);
  EXPECT_EQ(w.record(w.id).failures(), 0U);
  EXPECT_EQ(w.record(w.id).attempt().outcome(), v1::Attempt::STOPPED);
  // Nothing more for a daemon that leaves; the job goes on where its checkpoint is once there is room.
  w.forget_unlisted("a");
  ASSERT_TRUE(w.sync("a").ok());
  ASSERT_TRUE(w.join(worker_named("c", 1)).ok());
  EXPECT_EQ(w.state(w.id), J::RESERVED);
  EXPECT_EQ(w.assignment("c").resume_step(), 6U);
  EXPECT_EQ(w.assignment("c").resume_epoch(), 1U);
  EXPECT_EQ(w.assignment("c").id().epoch(), 2U);
}

TEST(Lifecycle, TheTimeLimitCountsAllAttemptsAndFailsTheJobWithTheReason) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  v1::Job job = job_named("x");
  job.mutable_scheduling()->set_time_limit(60);
  const std::string id = w.submit(job);
  w.take_up("a");
  w.train("a", id, 0, 1);
  w.tick(40'000);
  w.killed("a", id, 0, 9);
  w.forget_unlisted("a");
  w.tick(1'000);
  ASSERT_TRUE(w.sync("a").ok());
  w.take_up("a");
  w.train("a", id, 0, 2);
  // The warning comes a fifth of the limit before it, with that much time for a checkpoint.
  w.tick(7'000);
  EXPECT_FALSE(w.assignments("a").assignments(0).stop());
  w.tick(1'000);
  EXPECT_TRUE(w.assignments("a").assignments(0).stop());
  EXPECT_EQ(w.assignments("a").assignments(0).stop_grace_milliseconds(), 12'000U);
  w.finish("a", id, 0, v1::Finished::STOPPED);
  EXPECT_EQ(w.state(id), J::FAILED);
  EXPECT_EQ(w.record(id).message(), "ran into its time limit of 1m");
}

TEST(Lifecycle, AJobWaitsForThoseBeforeItAndEndsAsTheyDo) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 4)).ok());
  const std::string first = w.submit(job_named("first"));
  v1::Job after = job_named("second");
  after.mutable_scheduling()->add_after(first);
  const std::string second = w.submit(after);
  v1::Job last = job_named("third");
  last.mutable_scheduling()->add_after("jobs/" + second);
  const std::string third = w.submit(last);
  EXPECT_EQ(w.state(second), J::QUEUED);
  EXPECT_EQ(w.record(second).message(), "position 1 of 2; waits for jobs/first-1 to succeed");
  w.take_up("a");
  w.train("a", first, 0, 1);
  w.finish("a", first, 0, v1::Finished::SUCCEEDED);
  EXPECT_EQ(w.state(second), J::RESERVED);
  ASSERT_TRUE(w.scheduler->cancel(w.now, second, "", "").ok());
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_EQ(w.state(second), J::CANCELLED);
  EXPECT_EQ(w.state(third), J::CANCELLED);
  EXPECT_EQ(w.record(third).message(), "was to run after jobs/second-2, which ended as CANCELLED");
  // Cancelled before anything ran, and to the end of the chain; a failure is one for those after it.
  const std::string base = w.submit(job_named("base"));
  v1::Job one = job_named("one");
  one.mutable_scheduling()->add_after(base);
  const std::string heir = w.submit(one);
  v1::Job two = job_named("two");
  two.mutable_scheduling()->add_after(heir);
  const std::string last_heir = w.submit(two);
  w.take_up("a");
  w.train("a", base, 0, 1);
  w.finish("a", base, 0, v1::Finished::FAILED, "cannot read its data", true);
  EXPECT_EQ(w.state(heir), J::FAILED);
  EXPECT_EQ(w.state(last_heir), J::FAILED);
}

TEST(Lifecycle, PriorityGoesFirstThenTheEarlierSubmitted) {
  World w;
  const std::string low = w.submit(job_named("low"));
  const std::string early = w.submit(job_named("early"));
  v1::Job urgent = job_named("urgent");
  urgent.mutable_scheduling()->set_priority(5);
  const std::string high = w.submit(urgent);
  EXPECT_EQ(w.record(high).queue_position(), 1U);
  EXPECT_EQ(w.record(low).queue_position(), 2U);
  EXPECT_EQ(w.record(early).queue_position(), 3U);
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  EXPECT_EQ(w.state(high), J::RESERVED);
  EXPECT_EQ(w.state(low), J::QUEUED);
}

TEST(Lifecycle, UnknownQueuesAndDependenciesAreRefusedByName) {
  World w;
  v1::Job job = job_named("x");
  job.mutable_scheduling()->set_queue("fast");
  EXPECT_TRUE(absl::StrContains(w.scheduler->check_scheduling(job).message(), "\"fast\""));
  job = job_named("x");
  job.mutable_scheduling()->add_after("nothing-7");
  EXPECT_TRUE(absl::StrContains(w.scheduler->check_scheduling(job).message(), "\"nothing-7\""));
}

TEST(Lifecycle, ARequestIdMakesASubmitIdempotent) {
  World w;
  const Scheduler::Submission submission{job_named("x"), plan_of(1, 1), "r1", "/jobs", 1};
  const absl::StatusOr<std::string> first = w.scheduler->submit(w.now, submission);
  w.restart();
  const absl::StatusOr<std::string> again = w.scheduler->submit(w.now, submission);
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ(*first, *again);
  EXPECT_EQ(w.scheduler->state().jobs().size(), 1U);
  Scheduler::Submission other = submission;
  other.job.set_name("y");
  EXPECT_EQ(w.scheduler->submit(w.now, other).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST(Lifecycle, WorkersAreToldOnceTheJobsFolderIsThereHoweverLongItTakes) {
  World w;
  w.folders_answer = false;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string id = w.submit(job_named("x"));
  EXPECT_EQ(w.state(id), J::RESERVED);
  for (int i = 0; i < 100; ++i) {
    w.tick(1'000);
    ASSERT_TRUE(w.sync("a").ok());
    EXPECT_EQ(w.assignments("a").assignments_size(), 0);
  }
  EXPECT_EQ(w.record(id).message(), "slots are reserved on a; the job's folder is being made");
  const uint64_t revision = w.scheduler->assignments_revision("a");
  v1::AttemptId attempt;
  attempt.set_job_id(id);
  attempt.set_attempt(1);
  attempt.set_epoch(w.record(id).attempt().epoch());
  w.scheduler->confirm_start(w.now, attempt);
  EXPECT_NE(w.scheduler->assignments_revision("a"), revision);
  EXPECT_EQ(w.assignments("a").assignments_size(), 1);
  EXPECT_EQ(w.record(id).message(), "slots are reserved on a");
  // What comes late for an attempt that workers know of changes nothing.
  w.scheduler->refuse_start(w.now, attempt, "too late");
  EXPECT_EQ(w.state(id), J::RESERVED);
  // From then on the worker has its time to take it up.
  for (int64_t ms = 0; ms < w.options.reservation_ms - 1'000; ms += 1'000) {
    w.tick(1'000);
    ASSERT_TRUE(w.sync("a").ok());
  }
  EXPECT_EQ(w.state(id), J::RESERVED);
}

TEST(Lifecycle, ARankThatItsWorkerHoldsIsNotTakenFromItWhileTheFolderIsAskedForAgain) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string id = w.submit(job_named("x", 1));
  w.take_up("a");
  w.folders_answer = false;
  w.restart();
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_EQ(w.assignments("a").assignments_size(), 1);
  w.train("a", id, 0, 5);
  EXPECT_EQ(w.state(id), J::RUNNING);
}

TEST(Lifecycle, AJobWhoseFolderIsStillBeingMadeCanBeCancelled) {
  World w;
  w.folders_answer = false;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string id = w.submit(job_named("x"));
  EXPECT_EQ(w.state(id), J::RESERVED);
  ASSERT_TRUE(w.scheduler->cancel(w.now, id, "", "").ok());
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_EQ(w.state(id), J::CANCELLED);
  EXPECT_TRUE(w.scheduler->state().leased_slots("a").empty());
}

}  // namespace
}  // namespace galleon::server

#include <thread>

#include "absl/strings/match.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

class Workers : public ServerTest {
 protected:
  static Daemon daemon(const std::string& id) { return {id, {}, {}, {}, 0}; }
};

TEST_F(Workers, ASecondDaemonOfOneNameAndAnotherVersionAreRefusedWithTheReason) {
  start();
  Daemon a = daemon("a"), twin = daemon("a"), old = daemon("old");
  ASSERT_TRUE(join(a).ok());
  EXPECT_EQ(join(twin, 1, "1", "another").error_code(), grpc::ALREADY_EXISTS);
  const grpc::Status version = join(old, 1, "0.9");
  EXPECT_EQ(version.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_TRUE(absl::StrContains(version.error_message(), "version 0.9")) << version.error_message();
  v1::ErrorInfo info;
  ASSERT_TRUE(info.ParseFromString(details(version).details(0).value()));
  EXPECT_EQ(info.reason(), "VERSION_MISMATCH");
  Daemon nobody = daemon("nobody");
  EXPECT_EQ(sync(nobody).error_code(), grpc::NOT_FOUND);
}

TEST_F(Workers, AWaitingSyncIsAnsweredAsSoonAsThereIsWork) {
  start();
  Daemon a = daemon("a");
  ASSERT_TRUE(join(a).ok());
  const absl::Time before = absl::Now();
  ASSERT_TRUE(sync(a, 400).ok());
  EXPECT_GE(absl::Now() - before, absl::Milliseconds(350));
  EXPECT_EQ(a.last.assignments_size(), 0);
  std::thread submitting([this] { submit(job_named("x")); });
  EXPECT_TRUE(eventually([&] { return !sync(a, 600).ok() || a.last.assignments_size() > 0; }));
  submitting.join();
  ASSERT_EQ(a.last.assignments_size(), 1);
  EXPECT_EQ(a.last.assignments(0).job().name(), "x");
}

TEST_F(Workers, ARunningJobOutlivesARestartOfTheScheduler) {
  start();
  Daemon a = daemon("a");
  ASSERT_TRUE(join(a).ok());
  const std::string id = submit(job_named("x"));
  train(a, 5);
  ASSERT_TRUE(publish(a, a.held[0].id(), 5).ok());
  for (int i = 0; i < 3; ++i) {
    stop();
    start();
    EXPECT_EQ(get(id).state(), J::RUNNING);
    EXPECT_EQ(get(id).checkpoint().step(), 5U);
    ASSERT_TRUE(sync(a).ok());
    ASSERT_EQ(a.held.size(), 1U);
    train(a, 10);
  }
  EXPECT_EQ(get(id).attempts(), 1U);
  EXPECT_EQ(get(id).progress().step(), 10U);
  finish(a, v1::Finished::SUCCEEDED);
  EXPECT_EQ(get(id).state(), J::SUCCEEDED);
}

TEST_F(Workers, ALostWorkersJobGoesOnElsewhereFromItsCheckpointAndItsOldEpochIsRefused) {
  start();
  Daemon a = daemon("a");
  ASSERT_TRUE(join(a).ok());
  const std::string id = submit(job_named("x"));
  train(a, 5);
  const v1::AttemptId old = a.held[0].id();
  ASSERT_TRUE(publish(a, old, 5).ok());
  Daemon b = daemon("b");
  ASSERT_TRUE(join(b).ok());
  for (int i = 0; i < 60 && b.last.assignments_size() == 0; ++i) ASSERT_TRUE(sync(b, 100).ok());
  ASSERT_EQ(b.last.assignments_size(), 1);
  EXPECT_EQ(b.last.assignments(0).resume_step(), 5U);
  EXPECT_EQ(b.last.assignments(0).resume_epoch(), 1U);
  EXPECT_EQ(b.last.assignments(0).id().epoch(), 2U);
  EXPECT_EQ(publish(a, old, 6).error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(sync(a).error_code(), grpc::NOT_FOUND);
  const J record = get(id);
  EXPECT_EQ(record.failures(), 0U);
  EXPECT_EQ(record.checkpoint().step(), 5U);
  v1::ListAttemptsRequest request;
  request.set_parent("jobs/" + id);
  v1::ListAttemptsResponse attempts;
  ASSERT_TRUE(jobs_->ListAttempts(context().get(), request, &attempts).ok());
  ASSERT_EQ(attempts.attempts_size(), 2);
  EXPECT_EQ(attempts.attempts(0).outcome(), v1::Attempt::LOST);
  EXPECT_EQ(attempts.attempts(0).last_step(), 5U);
}

TEST_F(Workers, ACancelledJobIsStoppedOnItsWorkerAndEndsWhenReleased) {
  start();
  Daemon a = daemon("a");
  ASSERT_TRUE(join(a).ok());
  const std::string id = submit(job_named("x"));
  train(a, 5);
  v1::CancelJobRequest request;
  request.set_name("jobs/" + id);
  request.set_reason("not needed");
  v1::JobRecord record;
  ASSERT_TRUE(jobs_->CancelJob(context().get(), request, &record).ok());
  EXPECT_EQ(record.state(), J::CANCELLING);
  ASSERT_TRUE(sync(a).ok());
  ASSERT_EQ(a.last.assignments_size(), 1);
  EXPECT_TRUE(a.last.assignments(0).stop());
  EXPECT_GT(a.last.assignments(0).stop_grace_milliseconds(), 0U);
  finish(a, v1::Finished::STOPPED);
  EXPECT_EQ(get(id).state(), J::CANCELLED);
  EXPECT_EQ(get(id).message(), "cancelled: not needed");
}

TEST_F(Workers, WorkersAreListedInPagesWithWhatTheyHold) {
  // Joined once, they count as there however slow the machine is.
  options_.scheduler.lease_ms = 60'000;
  options_.scheduler.sync_ms = 10'000;
  start();
  for (const char* id : {"a", "b", "c"}) {
    Daemon d = daemon(id);
    ASSERT_TRUE(join(d, 2).ok());
  }
  submit(job_named("x"));
  v1::ListWorkersRequest request;
  request.set_page_size(2);
  v1::ListWorkersResponse first, second;
  ASSERT_TRUE(workers_->ListWorkers(context().get(), request, &first).ok());
  ASSERT_EQ(first.workers_size(), 2);
  request.set_page_token(first.next_page_token());
  ASSERT_TRUE(workers_->ListWorkers(context().get(), request, &second).ok());
  ASSERT_EQ(second.workers_size(), 1);
  EXPECT_EQ(second.workers(0).worker_id(), "c");
  EXPECT_TRUE(second.next_page_token().empty());
  v1::GetWorkerRequest one;
  one.set_name("workers/a");
  v1::Worker worker;
  ASSERT_TRUE(workers_->GetWorker(context().get(), one, &worker).ok());
  EXPECT_EQ(worker.slots_used(), 1U);
  ASSERT_EQ(worker.attempts_size(), 1);
  EXPECT_EQ(worker.attempts(0), "jobs/x-1/attempts/1");
  one.set_name("workers/z");
  EXPECT_EQ(workers_->GetWorker(context().get(), one, &worker).error_code(), grpc::NOT_FOUND);
}

class Logs : public Workers {
 protected:
  uint64_t append(const Daemon& d, const v1::AttemptId& id, uint64_t offset, const std::string& data,
                  bool complete = false) {
    v1::AppendLogsRequest request;
    *request.mutable_id() = id;
    request.set_worker_id(d.id);
    request.set_offset(offset);
    request.set_data(data);
    request.set_complete(complete);
    v1::AppendLogsResponse response;
    const grpc::Status status = workers_->AppendLogs(context().get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.acknowledged();
  }
  grpc::Status read(const std::string& id, std::string& data, uint64_t offset = 0, bool follow = false,
                    uint32_t rank = 0) {
    v1::ReadLogsRequest request;
    request.set_name("jobs/" + id);
    request.set_offset(offset);
    request.set_follow(follow);
    request.set_rank(rank);
    auto reading = context();
    auto reader = jobs_->ReadLogs(reading.get(), request);
    v1::ReadLogsResponse response;
    while (reader->Read(&response)) data += response.data();
    return reader->Finish();
  }
};

TEST_F(Logs, BytesAreStoredOnceWhateverIsSentTwiceOrTooEarly) {
  start();
  Daemon a = daemon("a");
  ASSERT_TRUE(join(a).ok());
  const std::string id = submit(job_named("x"));
  train(a, 1);
  const v1::AttemptId attempt = a.held[0].id();
  EXPECT_EQ(append(a, attempt, 0, "one\n"), 4U);
  EXPECT_EQ(append(a, attempt, 0, "one\n"), 4U);
  EXPECT_EQ(append(a, attempt, 8, "late"), 4U);
  EXPECT_EQ(append(a, attempt, 2, "e\ntwo\n"), 8U);
  stop();
  start();
  EXPECT_EQ(append(a, attempt, 8, "three\n", true), 14U);
  std::string data;
  ASSERT_TRUE(read(id, data).ok());
  EXPECT_EQ(data, "one\ntwo\nthree\n");
  data.clear();
  ASSERT_TRUE(read(id, data, 8).ok());
  EXPECT_EQ(data, "three\n");
  v1::AppendLogsRequest stranger;
  *stranger.mutable_id() = attempt;
  stranger.set_worker_id("b");
  v1::AppendLogsResponse response;
  EXPECT_EQ(workers_->AppendLogs(context().get(), stranger, &response).error_code(), grpc::NOT_FOUND);
  for (const uint32_t rank : {1U, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU}) {
    stranger.set_worker_id("a");
    stranger.set_rank(rank);
    EXPECT_EQ(workers_->AppendLogs(context().get(), stranger, &response).error_code(), grpc::NOT_FOUND) << rank;
    // The same of a rank that it says to hold.
    Daemon liar = a;
    liar.held[0].set_rank(rank);
    EXPECT_TRUE(sync(liar).ok()) << rank;
    a.sequence = liar.sequence;
  }
  EXPECT_EQ(read(id, data, 0, false, 7).error_code(), grpc::NOT_FOUND);
}

TEST_F(Logs, AFollowedLogGoesOnUntilTheJobHasEndedAndTheLogIsComplete) {
  start();
  Daemon a = daemon("a");
  ASSERT_TRUE(join(a).ok());
  const std::string id = submit(job_named("x"));
  std::string data;
  grpc::Status status;
  std::thread following([&] { status = read(id, data, 0, true); });
  train(a, 1);
  v1::AttemptId attempt = a.held[0].id();
  append(a, attempt, 0, "first attempt\n");
  a.held[0].set_exit_signal(9);
  a.held[0].set_phase(v1::RankReport::EXITED);
  ASSERT_TRUE(sync(a).ok());
  append(a, attempt, 14, "its end\n", true);
  ASSERT_TRUE(sync(a).ok());
  train(a, 2);
  attempt = a.held[0].id();
  EXPECT_EQ(attempt.attempt(), 2U);
  append(a, attempt, 0, "second\n");
  finish(a, v1::Finished::SUCCEEDED);
  append(a, attempt, 7, "done\n", true);
  following.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(data, "first attempt\nits end\nsecond\ndone\n");
  EXPECT_EQ(read(id, data, 1'000).error_code(), grpc::OUT_OF_RANGE);
}

}  // namespace
}  // namespace galleon::server

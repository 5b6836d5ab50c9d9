#include "client/job_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "tests/client/fake_service.h"
#include "tests/patience.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

v1::ReadLogsResponse piece(uint32_t attempt, uint64_t offset, const std::string& data) {
  v1::ReadLogsResponse response;
  response.set_attempt(attempt);
  response.set_offset(offset);
  response.set_data(data);
  return response;
}

TEST(JobClient, TriesAgainWhileTheSchedulerIsUnavailable) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::QUEUED)};
  service.unavailable = 2;
  JobClient client(service.address(), nullptr, kPatience);
  const absl::StatusOr<v1::JobRecord> job = client.get_job("a-1");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(service.gets, 3);
}

TEST(JobClient, RepeatsACreateUnderTheSameRequestId) {
  FakeService service;
  service.unavailable = 1;
  v1::CreateJobRequest request;
  request.set_request_id("once");
  request.mutable_job()->set_name("a");
  JobClient client(service.address(), nullptr, kPatience);
  ASSERT_TRUE(client.create_job(request).ok());
  ASSERT_EQ(service.created.size(), 2U);
  EXPECT_EQ(service.created[0].request_id(), "once");
  EXPECT_EQ(service.created[1].request_id(), "once");
}

TEST(JobClient, GivesUpOnASchedulerThatStaysAway) {
  FakeService service;
  service.stop();
  JobClient client(service.address());
  const absl::Time start = absl::Now();
  const absl::Status status = client.get_job("a-1").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot reach the scheduler at " + service.address()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--server or GALLEON_SERVER"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(60));
}

TEST(JobClient, FindsASchedulerThatComesBack) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::QUEUED)};
  JobClient client(service.address(), nullptr, kPatience);
  ASSERT_TRUE(client.get_job("a-1").ok());
  service.stop();
  std::thread restart([&] {
    absl::SleepFor(absl::Milliseconds(300));
    service.start();
  });
  const absl::Status status = client.get_job("a-1").status();
  restart.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(JobClient, DoesNotRepeatAnErrorOfTheRequest) {
  FakeService service;
  service.status = {grpc::StatusCode::INVALID_ARGUMENT, "job.training.steps: is missing"};
  JobClient client(service.address());
  const absl::Status status = client.create_job(v1::CreateJobRequest()).status();
  EXPECT_EQ(status, absl::InvalidArgumentError("job.training.steps: is missing"));
  EXPECT_EQ(service.created.size(), 1U);
}

TEST(JobClient, EveryUnaryCallHasADeadline) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::QUEUED)};
  JobClient client(service.address());
  ASSERT_TRUE(client.get_job("a-1").ok());
  ASSERT_TRUE(client.list_jobs({}).ok());
  ASSERT_TRUE(client.list_workers().ok());
  ASSERT_TRUE(client.list_attempts("a-1").ok());
  ASSERT_TRUE(client.cancel_job("a-1", "").ok());
  ASSERT_TRUE(client.create_job({}).ok());
  ASSERT_EQ(service.deadlines.size(), 6U);
  for (const auto& deadline : service.deadlines)
    EXPECT_LT(deadline, std::chrono::system_clock::now() + std::chrono::minutes(3));
}

TEST(JobClient, FollowsThePagesOfAList) {
  FakeService service;
  for (int i = 0; i < 5; ++i) service.jobs.emplace_back().set_job_id(absl::StrCat("a-", i));
  for (int i = 0; i < 3; ++i) service.workers.emplace_back().set_worker_id(absl::StrCat("w-", i));
  v1::ListJobsRequest request;
  request.add_states(v1::JobRecord::RUNNING);
  JobClient client(service.address());
  const absl::StatusOr<std::vector<v1::JobRecord>> jobs = client.list_jobs(request);
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  ASSERT_EQ(jobs->size(), 5U);
  EXPECT_EQ(jobs->back().job_id(), "a-4");
  ASSERT_EQ(service.listed.size(), 3U);
  EXPECT_EQ(service.listed[2].page_token(), "4");
  EXPECT_THAT(service.listed[2].states(), ElementsAre(v1::JobRecord::RUNNING)) << "each page has the same filter";
  const absl::StatusOr<std::vector<v1::Worker>> workers = client.list_workers();
  ASSERT_TRUE(workers.ok()) << workers.status();
  EXPECT_EQ(workers->size(), 3U);
}

TEST(JobClient, AJobIsNamedWithOrWithoutItsPrefix) {
  EXPECT_EQ(job_name("a-1"), "jobs/a-1");
  EXPECT_EQ(job_name("jobs/a-1"), "jobs/a-1");
}

TEST(WatchJob, GoesOnAfterTheStreamBreaks) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::RUNNING)};
  service.watches = {{record_of(v1::JobRecord::RUNNING, "", 1)},
                     {record_of(v1::JobRecord::RUNNING, "", 2)},
                     {record_of(v1::JobRecord::SUCCEEDED, "", 3)}};
  JobClient client(service.address());
  std::vector<uint64_t> steps;
  int away = 0;
  const absl::StatusOr<v1::JobRecord> last = client.watch_job(
      "a-1", [&](const v1::JobRecord& record) { return steps.push_back(record.progress().step()), true; },
      [&](const absl::Status&) { ++away; });
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->state(), v1::JobRecord::SUCCEEDED);
  EXPECT_THAT(steps, ElementsAre(1, 2, 3));
  EXPECT_EQ(away, 2) << "once for each time";
}

TEST(WatchJob, EndsWhenToldTo) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::RUNNING)};
  service.watches = {{record_of(v1::JobRecord::RUNNING, "", 1), record_of(v1::JobRecord::RUNNING, "", 2)}};
  JobClient client(service.address());
  const absl::StatusOr<v1::JobRecord> last = client.watch_job(
      "a-1", [](const v1::JobRecord&) { return false; }, [](const absl::Status&) {});
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->progress().step(), 1U);
}

TEST(WatchJob, OfAJobThatIsNotThereIsAnError) {
  FakeService service;
  JobClient client(service.address());
  EXPECT_EQ(client
                .watch_job(
                    "a-1", [](const v1::JobRecord&) { return true; }, [](const absl::Status&) {})
                .status(),
            absl::NotFoundError("there is no such job"));
}

TEST(ReadLogs, GoesOnWhereTheStreamBroke) {
  FakeService service;
  service.logs = {piece(1, 0, "one\n"), piece(1, 4, "two\n"), piece(1, 8, "three\n")};
  service.log_pieces_per_stream = 1;
  JobClient client(service.address());
  std::string text;
  const absl::Status status =
      client.read_logs("a-1", 0, 1, false, [&](const v1::ReadLogsResponse& p) { text += p.data(); });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(text, "one\ntwo\nthree\n") << "no byte lost or doubled";
  EXPECT_EQ(service.read.back().rank(), 1U);
}

TEST(ReadLogs, FollowsTheNextAttemptToAfterTheStreamBroke) {
  FakeService service;
  v1::JobRecord ended = record_of(v1::JobRecord::SUCCEEDED);
  ended.set_attempts(2);
  service.records = {ended};
  service.logs = {piece(1, 0, "one\n"), piece(1, 4, "two\n"), piece(2, 0, "again\n")};
  service.log_pieces_per_stream = 1;
  JobClient client(service.address());
  std::string text;
  const absl::Status status =
      client.read_logs("a-1", 0, 0, true, [&](const v1::ReadLogsResponse& p) { text += p.data(); });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(text, "one\ntwo\nagain\n");
}

TEST(ReadLogs, OfOneAttemptEndsWithIt) {
  FakeService service;
  service.logs = {piece(1, 0, "one\n"), piece(2, 0, "again\n")};
  JobClient client(service.address());
  std::string text;
  const absl::Status status =
      client.read_logs("a-1", 1, 0, true, [&](const v1::ReadLogsResponse& p) { text += p.data(); });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(text, "one\n");
}

TEST(ReadLogs, GivesUpOnASchedulerThatWasNeverThere) {
  FakeService service;
  service.stop();
  JobClient client(service.address());
  const absl::Status status = client.read_logs("a-1", 0, 0, true, [](const v1::ReadLogsResponse&) {});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace galleon

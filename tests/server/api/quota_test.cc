// Quotas by gRPC: what is refused says who has how much of what, and what helps.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "galleon/v1/queues.grpc.pb.h"
#include "server/api/submit_rates.h"
#include "server/core/refusal.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

class QuotaTest : public ServerTest {
 protected:
  void lab(const QuotaLimits& limits) {
    options_.scheduler.queues = {{"default", 1, 0, 0, "lab"}};
    options_.scheduler.projects = {{"lab", limits, {}}};
    start();
  }
};

TEST_F(QuotaTest, ARefusalHasTheFigureAndTheLimitForPeopleAndForPrograms) {
  lab({.queued = 1});
  submit(job_named("first"));
  v1::JobRecord record;
  const grpc::Status status = create(job_named("second"), record);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(absl::StartsWith(status.error_message(), "project lab has 1 job waiting and may have 1; "))
      << status.error_message();
  const v1::RpcStatus parsed = details(status);
  ASSERT_EQ(parsed.details_size(), 2);
  v1::ErrorInfo info;
  ASSERT_TRUE(info.ParseFromString(parsed.details(0).value()));
  EXPECT_EQ(info.reason(), "QUOTA_EXCEEDED");
  EXPECT_EQ(info.metadata().at("resource"), "queued");
  EXPECT_EQ(info.metadata().at("used"), "1");
  EXPECT_EQ(info.metadata().at("limit"), "1");
  EXPECT_EQ(parsed.details(1).type_url(), "type.googleapis.com/google.rpc.QuotaFailure");
  v1::QuotaFailure failure;
  ASSERT_TRUE(failure.ParseFromString(parsed.details(1).value()));
  EXPECT_EQ(failure.violations(0).subject(), "project:lab");
  EXPECT_EQ(times_planned(), 1) << "what is refused anyway is not planned";
}

TEST_F(QuotaTest, SubmitsAMinuteCountThoseThatOnlyValidateAndARepeatedOneOnce) {
  lab({.submits_per_minute = 3});
  v1::JobRecord record;
  ASSERT_TRUE(create(job_named("one"), record, "id").ok());
  ASSERT_TRUE(create(job_named("one"), record, "id").ok());
  ASSERT_TRUE(create(job_named("two"), record, "", true).ok());
  ASSERT_TRUE(create(job_named("three"), record, "", true).ok());
  const grpc::Status status = create(job_named("four"), record, "", true);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(
      absl::StartsWith(status.error_message(), "project lab has submitted 3 jobs within a minute and may submit 3, "))
      << status.error_message();
  ASSERT_TRUE(create(job_named("one"), record, "id").ok()) << "an answer that was lost is had again";
}

TEST_F(QuotaTest, ProjectsAreListedWithWhatTheyHave) {
  lab({.queued = 4, .folder_bytes = 1 << 20});
  submit(job_named("one"));
  const auto queues = v1::QueueService::NewStub(channel_);
  v1::ListProjectsResponse response;
  ASSERT_TRUE(queues->ListProjects(context().get(), v1::ListProjectsRequest(), &response).ok());
  ASSERT_EQ(response.projects_size(), 1);
  EXPECT_EQ(response.projects(0).project_id(), "lab");
  EXPECT_EQ(response.projects(0).use().queued(), 1U);
  EXPECT_EQ(response.projects(0).limits().folder_bytes(), 1U << 20);
}

TEST_F(QuotaTest, LogsBeyondTheQuotaAreMarkedAndTheWorkerGoesOn) {
  lab({.log_bytes = 10});
  Daemon daemon{"w"};
  ASSERT_TRUE(join(daemon).ok());
  const std::string id = submit(job_named("one"));
  train(daemon, 1);
  v1::AppendLogsRequest request;
  *request.mutable_id() = daemon.held[0].id();
  request.set_worker_id("w");
  request.set_data("0123456\n");
  v1::AppendLogsResponse response;
  ASSERT_TRUE(workers_->AppendLogs(context().get(), request, &response).ok());
  EXPECT_EQ(response.acknowledged(), 8U);
  request.set_offset(8);
  request.set_data("too much\n");
  ASSERT_TRUE(workers_->AppendLogs(context().get(), request, &response).ok());
  EXPECT_EQ(response.acknowledged(), 17U);
  const std::string text = read_file(absl::StrCat(folder_, "/data/logs/", id, "/1/0.log")).value_or("");
  EXPECT_TRUE(absl::StartsWith(text, "0123456\n\n[galleon-scheduler: what follows is not kept: project lab keeps"))
      << text;
}

class HandClock final : public Clock {
 public:
  absl::Time now() const override { return absl::FromUnixSeconds(0) + passed; }
  absl::Duration monotonic() const override { return passed; }
  absl::Duration passed = absl::Seconds(1);
};

TEST(SubmitRates, AMinutesWorthAtOnceThenEvenlyAndAUserNeverAtTheCostOfOthers) {
  HandClock clock;
  SubmitRates rates(&clock);
  const std::vector<ProjectQuota> quotas = {{"lab", {.submits_per_minute = 6}, {.submits_per_minute = 4}}};
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(rates.take(quotas, "lab", "ann").ok());
  const absl::Status own = rates.take(quotas, "lab", "ann");
  EXPECT_EQ(quota_details(own)->subject, "project:lab/user:ann");
  EXPECT_TRUE(absl::EndsWith(own.message(), "try again in 15 s")) << own;
  // What was refused to ann took nothing from the others.
  EXPECT_TRUE(rates.take(quotas, "lab", "bob").ok());
  EXPECT_TRUE(rates.take(quotas, "lab", "bob").ok());
  EXPECT_EQ(quota_details(rates.take(quotas, "lab", "bob"))->subject, "project:lab");
  EXPECT_TRUE(rates.take(quotas, "arts", "ann").ok());
  clock.passed += absl::Seconds(15);
  EXPECT_TRUE(rates.take(quotas, "lab", "ann").ok());
  clock.passed += absl::Minutes(10);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(rates.take(quotas, "lab", "eve").ok());
  EXPECT_FALSE(rates.take(quotas, "lab", "eve").ok());
}

}  // namespace
}  // namespace galleon::server

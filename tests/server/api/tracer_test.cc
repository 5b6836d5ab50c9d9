// A job's life as a collector sees it, and that nobody waits for a collector that does not answer.
#include "server/api/tracer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>

#include "absl/strings/escaping.h"
#include "common/net/trace_id.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

// Keeps spans; while `hangs`, answers nobody.
class Collector final : public otlp::TraceService::Service {
 public:
  Collector() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Collector() override {
    hangs = false;
    server_->Shutdown(std::chrono::system_clock::now());
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  std::vector<otlp::Span> spans() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return spans_;
  }
  std::string service() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return service_;
  }
  grpc::Status Export(grpc::ServerContext* context, const otlp::ExportTraceServiceRequest* request,
                      otlp::ExportTraceServiceResponse*) override {
    ++calls;
    while (hangs && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(10));
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const otlp::ResourceSpans& resource : request->resource_spans()) {
      service_ = resource.resource().attributes(0).value().string_value();
      for (const otlp::ScopeSpans& scope : resource.scope_spans())
        spans_.insert(spans_.end(), scope.spans().begin(), scope.spans().end());
    }
    return grpc::Status::OK;
  }
  std::atomic<bool> hangs = false;
  std::atomic<int> calls = 0;

 private:
  std::mutex mutex_;
  std::vector<otlp::Span> spans_;
  std::string service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

v1::JobState job_of(int64_t created_ms) {
  v1::JobState job;
  v1::JobRecord& record = *job.mutable_record();
  record.set_job_id("novels-1");
  record.mutable_job()->set_name("novels");
  record.set_state(v1::JobRecord::RUNNING);
  record.set_create_time_ms(created_ms);
  return job;
}

v1::Attempt& attempt_of(v1::JobState& job, uint32_t number, int64_t start_ms, int64_t end_ms,
                        v1::Attempt::Outcome outcome) {
  v1::Attempt& attempt = *job.add_attempts()->mutable_attempt();
  attempt.set_number(number);
  attempt.set_epoch(number);
  attempt.set_start_time_ms(start_ms);
  attempt.set_end_time_ms(end_ms);
  attempt.set_outcome(outcome);
  return attempt;
}

std::vector<std::string> shapes(const std::vector<otlp::Span>& spans) {
  std::vector<std::string> found;
  for (const otlp::Span& span : spans)
    found.push_back(absl::StrCat(span.name(), " ", span.start_time_unix_nano() / 1'000'000, "-",
                                 span.end_time_unix_nano() / 1'000'000));
  return found;
}

TEST(JobSpans, ALifeIsWaitsAttemptsAndStepsUpToCheckpointsInOneTrace) {
  JobSpans spans;
  v1::JobState job = job_of(1000);
  EXPECT_TRUE(spans.of(job, true).empty());
  attempt_of(job, 1, 3000, 0, v1::Attempt::RUNNING);
  EXPECT_THAT(shapes(spans.of(job, true)), testing::ElementsAre("queued 1000-3000"));
  EXPECT_TRUE(spans.of(job, true).empty());
  v1::PublishedCheckpoint& checkpoint = *job.mutable_record()->mutable_checkpoint();
  checkpoint.set_step(50);
  checkpoint.set_epoch(1);
  checkpoint.set_time_ms(5000);
  const std::vector<otlp::Span> steps = spans.of(job, true);
  EXPECT_THAT(shapes(steps), testing::ElementsAre("steps 1 to 50 3000-5000"));
  checkpoint.set_step(100);
  checkpoint.set_time_ms(7000);
  EXPECT_THAT(shapes(spans.of(job, true)), testing::ElementsAre("steps 51 to 100 5000-7000"));
  v1::Attempt& first = *job.mutable_attempts(0)->mutable_attempt();
  first.set_end_time_ms(8000);
  first.set_outcome(v1::Attempt::LOST);
  first.set_message("the worker is gone");
  const std::vector<otlp::Span> lost = spans.of(job, true);
  ASSERT_THAT(shapes(lost), testing::ElementsAre("attempt 1 3000-8000"));
  EXPECT_EQ(lost[0].status().code(), otlp::Status::STATUS_CODE_ERROR);
  EXPECT_EQ(lost[0].status().message(), "the worker is gone");
  EXPECT_EQ(steps[0].parent_span_id(), lost[0].span_id());
  attempt_of(job, 2, 9000, 12000, v1::Attempt::SUCCEEDED).set_resumed_from_step(100);
  checkpoint.set_step(150);
  checkpoint.set_epoch(2);
  checkpoint.set_time_ms(11000);
  job.mutable_record()->set_state(v1::JobRecord::SUCCEEDED);
  job.mutable_record()->set_end_time_ms(12000);
  const std::vector<otlp::Span> rest = spans.of(job, true);
  EXPECT_THAT(shapes(rest), testing::ElementsAre("queued 8000-9000", "steps 101 to 150 9000-11000",
                                                 "attempt 2 9000-12000", "novels 1000-12000"));
  EXPECT_EQ(rest.back().parent_span_id(), "");
  EXPECT_EQ(rest.front().parent_span_id(), rest.back().span_id());
  for (const otlp::Span& span : rest) {
    EXPECT_EQ(absl::BytesToHexString(span.trace_id()), trace_id_of("novels-1", 1000));
    EXPECT_EQ(span.span_id().size(), 8);
  }
  EXPECT_TRUE(spans.of(job, true).empty());
}

TEST(JobSpans, WhatWasOverBeforeIsNotTold) {
  JobSpans spans;
  v1::JobState job = job_of(1000);
  attempt_of(job, 1, 3000, 4000, v1::Attempt::FAILED);
  job.mutable_record()->set_state(v1::JobRecord::FAILED);
  EXPECT_TRUE(spans.of(job, false).empty());
  // Somebody has it go on.
  job.mutable_record()->set_state(v1::JobRecord::SUCCEEDED);
  EXPECT_TRUE(spans.of(job, false).empty());
  job.mutable_record()->set_state(v1::JobRecord::RUNNING);
  attempt_of(job, 2, 6000, 0, v1::Attempt::RUNNING);
  EXPECT_THAT(shapes(spans.of(job, false)), testing::ElementsAre("queued 4000-6000"));
}

class Traces : public ServerTest {
 protected:
  Collector collector_;
};

TEST_F(Traces, AJobThatIsCancelledIsATraceThatTheCollectorGets) {
  options_.otlp = collector_.address();
  start();
  const std::string id = submit(job_named("novels"));
  v1::CancelJobRequest request;
  request.set_name("jobs/" + id);
  v1::JobRecord record;
  ASSERT_TRUE(jobs_->CancelJob(context().get(), request, &record).ok());
  ASSERT_TRUE(eventually([&] { return !collector_.spans().empty(); }));
  const otlp::Span span = collector_.spans().front();
  EXPECT_EQ(span.name(), "novels");
  EXPECT_EQ(absl::BytesToHexString(span.trace_id()), trace_id_of(id, record.create_time_ms()));
  EXPECT_EQ(collector_.service(), "galleon");
}

TEST_F(Traces, NobodyWaitsForACollectorThatHangsAndTheEndDoesNotEither) {
  collector_.hangs = true;
  options_.otlp = collector_.address();
  start();
  v1::JobRecord record;
  for (int i = 0; i < 20; ++i) {
    v1::CancelJobRequest request;
    request.set_name("jobs/" + submit(job_named("novels")));
    ASSERT_TRUE(jobs_->CancelJob(context().get(), request, &record).ok());
  }
  ASSERT_TRUE(eventually([&] { return collector_.calls > 0; }));
  EXPECT_TRUE(collector_.spans().empty());
  stop();
}

}  // namespace
}  // namespace galleon::server

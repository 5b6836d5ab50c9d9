// A scheduler for tests of the client: answers from what the test sets, and remembers what it was asked.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "galleon/v1/jobs.grpc.pb.h"
#include "galleon/v1/workers.grpc.pb.h"

namespace galleon {

class FakeService final : public v1::JobService::Service, public v1::WorkerService::Service {
 public:
  FakeService() { listen(0); }
  ~FakeService() override { stop(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  void start() { listen(port_); }

  // All below under this lock while the service runs.
  std::mutex mutex;
  int unavailable = 0;                 // so many calls fail as if the scheduler were away
  grpc::Status status;                 // of every unary call after those
  std::vector<v1::JobRecord> records;  // of successive GetJob calls; the last one stays
  std::vector<v1::JobRecord> jobs;     // of ListJobs
  int page = 2;                        // its page size
  std::vector<v1::Worker> workers;
  std::vector<std::vector<v1::JobRecord>>
      watches;                             // records of successive streams; all but the last end with UNAVAILABLE
  std::vector<v1::ReadLogsResponse> logs;  // all pieces, of which a stream gives those that are asked for
  int log_pieces_per_stream = 1000;        // then UNAVAILABLE
  uint32_t last_attempt = 1;               // of a job that has ended
  std::vector<v1::CreateJobRequest> created;
  std::vector<v1::CancelJobRequest> cancelled;
  std::vector<v1::ListJobsRequest> listed;
  std::vector<v1::ReadLogsRequest> read;
  int gets = 0;
  int streams = 0;
  std::vector<std::chrono::system_clock::time_point> deadlines;

  grpc::Status CreateJob(grpc::ServerContext* context, const v1::CreateJobRequest* request,
                         v1::JobRecord* response) override {
    const std::lock_guard<std::mutex> lock(mutex);
    created.push_back(*request);
    if (const grpc::Status failed = enter(context); !failed.ok()) return failed;
    *response->mutable_job() = request->job();
    response->set_job_id(request->job().name() + "-1");
    response->set_state(v1::JobRecord::QUEUED);
    return grpc::Status::OK;
  }

  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest*, v1::JobRecord* response) override {
    const std::lock_guard<std::mutex> lock(mutex);
    ++gets;
    if (const grpc::Status failed = enter(context); !failed.ok()) return failed;
    if (records.empty()) return {grpc::StatusCode::NOT_FOUND, "there is no such job"};
    *response = records.front();
    if (records.size() > 1) records.erase(records.begin());
    return grpc::Status::OK;
  }

  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override {
    const std::lock_guard<std::mutex> lock(mutex);
    listed.push_back(*request);
    if (const grpc::Status failed = enter(context); !failed.ok()) return failed;
    fill_page(jobs, request->page_token(), *response, [&] { return response->add_jobs(); });
    return grpc::Status::OK;
  }

  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                         v1::JobRecord* response) override {
    const std::lock_guard<std::mutex> lock(mutex);
    cancelled.push_back(*request);
    if (const grpc::Status failed = enter(context); !failed.ok()) return failed;
    response->set_job_id("a-1");
    response->set_state(v1::JobRecord::CANCELLING);
    return grpc::Status::OK;
  }

  grpc::Status ListAttempts(grpc::ServerContext* context, const v1::ListAttemptsRequest*,
                            v1::ListAttemptsResponse* response) override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (const grpc::Status failed = enter(context); !failed.ok()) return failed;
    response->add_attempts()->set_number(1);
    return grpc::Status::OK;
  }

  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest*,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (watches.empty()) return {grpc::StatusCode::NOT_FOUND, "there is no such job"};
    const size_t stream = std::min<size_t>(streams++, watches.size() - 1);
    for (const v1::JobRecord& record : watches[stream]) {
      v1::WatchJobResponse response;
      *response.mutable_job() = record;
      writer->Write(response);
    }
    return stream + 1 < watches.size() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down")
                                       : grpc::Status::OK;
  }

  // With attempt 0 the newest attempt, or with follow every attempt from it on, as the scheduler does.
  grpc::Status ReadLogs(grpc::ServerContext*, const v1::ReadLogsRequest* request,
                        grpc::ServerWriter<v1::ReadLogsResponse>* writer) override {
    const std::lock_guard<std::mutex> lock(mutex);
    read.push_back(*request);
    int given = 0;
    for (const v1::ReadLogsResponse& piece : logs) {
      if (request->attempt() != 0 && piece.attempt() != request->attempt()) continue;
      if (piece.attempt() == request->attempt() && piece.offset() < request->offset()) continue;
      if (given++ == log_pieces_per_stream) return {grpc::StatusCode::UNAVAILABLE, "shutting down"};
      writer->Write(piece);
    }
    return grpc::Status::OK;
  }

  grpc::Status ListWorkers(grpc::ServerContext* context, const v1::ListWorkersRequest* request,
                           v1::ListWorkersResponse* response) override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (const grpc::Status failed = enter(context); !failed.ok()) return failed;
    fill_page(workers, request->page_token(), *response, [&] { return response->add_workers(); });
    return grpc::Status::OK;
  }

 private:
  grpc::Status enter(grpc::ServerContext* context) {
    deadlines.push_back(context->deadline());
    if (unavailable > 0) {
      --unavailable;
      return {grpc::StatusCode::UNAVAILABLE, "away"};
    }
    return status;
  }

  template <typename Message, typename Response, typename Add>
  void fill_page(const std::vector<Message>& all, const std::string& token, Response& response, Add add) {
    size_t at = 0;
    if (!token.empty() && !absl::SimpleAtoi(token, &at)) return;
    const size_t end = std::min(all.size(), at + static_cast<size_t>(page));
    for (; at < end; ++at) *add() = all[at];
    if (end < all.size()) response.set_next_page_token(absl::StrCat(end));
  }

  void listen(int port) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<v1::JobService::Service*>(this));
    builder.RegisterService(static_cast<v1::WorkerService::Service*>(this));
    server_ = builder.BuildAndStart();
  }

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

inline v1::JobRecord record_of(v1::JobRecord::State state, const std::string& message = "", uint64_t step = 0) {
  v1::JobRecord record;
  record.set_name("jobs/a-1");
  record.set_job_id("a-1");
  record.set_state(state);
  record.set_message(message);
  if (step > 0) {
    record.mutable_progress()->set_step(step);
    record.mutable_progress()->set_total_steps(100);
    record.mutable_progress()->set_loss(2.5);
  }
  return record;
}

}  // namespace galleon

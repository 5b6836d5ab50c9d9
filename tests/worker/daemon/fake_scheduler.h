// A scheduler for tests: answers the daemon's calls from what the test sets, and remembers what it was told.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "galleon/v1/workers.grpc.pb.h"
#include "tests/patience.h"

namespace galleon {

class FakeScheduler final : public v1::WorkerService::Service {
 public:
  FakeScheduler() { listen(0); }
  ~FakeScheduler() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  // The process dies and comes back at the same port; what it stored stays.
  void stop() {
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  void start() { listen(port_); }

  // Everything below is read and written under this lock, except through the helpers.
  std::mutex mutex;
  std::map<std::string, v1::Assignment> assignments;  // by "job.attempt.rank"
  std::map<std::string, v1::RankReport> reports;      // newest, by the same
  std::map<std::string, std::string> logs;
  std::map<std::string, bool> logs_complete;
  std::vector<v1::PublishCheckpointRequest> published;
  std::vector<v1::RegisterWorkerRequest> registrations;
  std::vector<v1::DeviceInfo> devices;  // as last reported
  v1::WorkerProbe probe;                // the same
  std::string jobs_folder;
  uint64_t lease_milliseconds = 20000;
  uint64_t syncs = 0;
  bool leaving = false;
  bool unavailable = false;     // syncs and publications fail as if nobody were there
  int publish_unavailable = 0;  // so many publications fail before one is taken
  grpc::Status register_status;
  grpc::Status publish_status;
  grpc::Status next_sync_status;     // once
  std::vector<std::string> doubled;  // log bytes that came twice and differed

  static std::string key(const v1::AttemptId& id, uint32_t rank) {
    return absl::StrCat(id.job_id(), ".", id.attempt(), ".", rank);
  }

  void assign(const v1::Assignment& assignment) {
    const std::lock_guard<std::mutex> lock(mutex);
    assignments[key(assignment.id(), assignment.rank())] = assignment;
    ++revision_;
    changed_.notify_all();
  }
  void update(const std::string& name, const std::function<void(v1::Assignment&)>& change) {
    const std::lock_guard<std::mutex> lock(mutex);
    change(assignments[name]);
    ++revision_;
    changed_.notify_all();
  }
  void unlist(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex);
    assignments.erase(name);
    ++revision_;
    changed_.notify_all();
  }
  v1::RankReport report(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex);
    return reports[name];
  }
  std::string log(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex);
    return logs[name];
  }
  // Looks at the condition under the lock until it is true; false when that does not come.
  bool wait_for(const std::function<bool()>& condition) {
    return eventually([&] {
      const std::lock_guard<std::mutex> lock(mutex);
      return condition();
    });
  }
  bool wait_for_phase(const std::string& name, v1::RankReport::Phase phase) {
    return wait_for([&] { return reports[name].phase() == phase; });
  }

  grpc::Status RegisterWorker(grpc::ServerContext*, const v1::RegisterWorkerRequest* request,
                              v1::RegisterWorkerResponse* response) override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!register_status.ok()) return register_status;
    registrations.push_back(*request);
    *response->mutable_worker() = request->worker();
    response->set_lease_milliseconds(lease_milliseconds);
    response->set_sync_milliseconds(200);
    response->set_jobs_folder(jobs_folder);
    response->set_session(++session_);
    return grpc::Status::OK;
  }

  grpc::Status SyncWorker(grpc::ServerContext* context, const v1::SyncWorkerRequest* request,
                          v1::SyncWorkerResponse* response) override {
    std::unique_lock<std::mutex> lock(mutex);
    ++syncs;
    if (unavailable) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
    if (!next_sync_status.ok()) return std::exchange(next_sync_status, grpc::Status::OK);
    if (request->session() != session_) return grpc::Status(grpc::StatusCode::NOT_FOUND, "another session");
    if (request->devices_size() > 0) devices.assign(request->devices().begin(), request->devices().end());
    if (request->has_probe()) probe = request->probe();
    leaving = leaving || request->leaving();
    for (const v1::RankReport& report : request->ranks()) reports[key(report.id(), report.rank())] = report;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(request->wait_milliseconds());
    while (revision_ == request->seen_revision() && std::chrono::steady_clock::now() < end && !context->IsCancelled()) {
      changed_.wait_for(lock, std::chrono::milliseconds(5));
    }
    response->set_lease_milliseconds(lease_milliseconds);
    response->set_revision(revision_);
    for (const auto& [name, assignment] : assignments) *response->add_assignments() = assignment;
    return grpc::Status::OK;
  }

  grpc::Status PublishCheckpoint(grpc::ServerContext*, const v1::PublishCheckpointRequest* request,
                                 v1::PublishCheckpointResponse*) override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (unavailable || publish_unavailable-- > 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
    if (!publish_status.ok()) return publish_status;
    published.push_back(*request);
    return grpc::Status::OK;
  }

  grpc::Status AppendLogs(grpc::ServerContext*, const v1::AppendLogsRequest* request,
                          v1::AppendLogsResponse* response) override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (unavailable) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
    const std::string name = key(request->id(), request->rank());
    std::string& log = logs[name];
    if (request->offset() <= log.size()) {
      const size_t known = std::min<size_t>(log.size() - request->offset(), request->data().size());
      if (log.compare(request->offset(), known, request->data(), 0, known) != 0) doubled.push_back(name);
      log += request->data().substr(known);
      if (request->complete()) logs_complete[name] = true;
    }
    response->set_acknowledged(log.size());
    return grpc::Status::OK;
  }

 private:
  void listen(int port) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  uint64_t revision_ = 1;
  uint64_t session_ = 0;
  std::condition_variable changed_;
};

}  // namespace galleon

// A real scheduler on port 0 with a real journal, a planner made of two lines of shell, and a daemon that the test
// speaks for.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "galleon/v1/error.pb.h"
#include "galleon/v1/jobs.grpc.pb.h"
#include "galleon/v1/workers.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "server/api/server.h"
#include "tests/patience.h"

namespace galleon::server {

inline v1::Job job_named(const std::string& name, uint32_t ranks = 1) {
  v1::Job job;
  job.set_name(name);
  job.mutable_parallel()->set_ranks(ranks);
  job.mutable_scheduling()->set_queue("default");
  job.mutable_shape()->set_architecture("llama");
  return job;
}

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-server-", random_hex(8))).string();
    std::filesystem::create_directory(folder_);
    options_.data = folder_ + "/data";
    options_.listen = "127.0.0.1:0";
    options_.metrics = "127.0.0.1:0";
    options_.scheduler.version = "1";
    options_.scheduler.lease_ms = 2'000;
    options_.scheduler.sync_ms = 100;
    options_.scheduler.first_backoff_ms = 50;
    options_.planner = folder_ + "/planner";
    set_planner("cat " + folder_ + "/plan.$(grep -ac two \"$3\")");
    for (int ranks : {1, 2}) {
      v1::MemoryPlan plan;
      for (int rank = 0; rank < ranks; ++rank) plan.add_ranks()->set_peak_bytes(100 << 20);
      plan.set_process_base_bytes(12 << 20);
      ASSERT_TRUE(write_file_atomically(absl::StrCat(folder_, "/plan.", ranks - 1), plan.SerializeAsString()).ok());
    }
  }
  void TearDown() override {
    stop();
    std::filesystem::remove_all(folder_);
  }

  // Shell that is run as the planner; $3 is the job's file. Jobs of two ranks have "two" in their tokenizer.
  void set_planner(const std::string& shell) {
    ASSERT_TRUE(
        write_file_atomically(options_.planner, "#!/bin/sh\necho run >> " + folder_ + "/planned\n" + shell + "\n")
            .ok());
    ASSERT_EQ(::chmod(options_.planner.c_str(), 0755), 0);
  }
  int times_planned() const {
    const std::string lines = read_file(folder_ + "/planned").value_or("");
    return static_cast<int>(std::count(lines.begin(), lines.end(), '\n'));
  }

  void start() {
    absl::StatusOr<std::unique_ptr<Server>> server = Server::start(options_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    jobs_ = v1::JobService::NewStub(channel_);
    workers_ = v1::WorkerService::NewStub(channel_);
  }
  void stop() { server_.reset(); }

  static std::unique_ptr<grpc::ClientContext> context(absl::Duration deadline = kPatience) {
    auto made = std::make_unique<grpc::ClientContext>();
    made->set_deadline(absl::ToChronoTime(absl::Now() + deadline));
    return made;
  }

  grpc::Status create(const v1::Job& job, v1::JobRecord& record, const std::string& request_id = "",
                      bool validate_only = false) {
    v1::CreateJobRequest request;
    *request.mutable_job() = job;
    if (job.parallel().ranks() == 2) request.mutable_job()->set_tokenizer("two");
    request.set_request_id(request_id);
    request.set_validate_only(validate_only);
    return jobs_->CreateJob(context().get(), request, &record);
  }
  std::string submit(const v1::Job& job) {
    v1::JobRecord record;
    const grpc::Status status = create(job, record);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return record.job_id();
  }
  v1::JobRecord get(const std::string& id) {
    v1::GetJobRequest request;
    request.set_name("jobs/" + id);
    v1::JobRecord record;
    const grpc::Status status = jobs_->GetJob(context().get(), request, &record);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return record;
  }
  // Waits until the job is in `state`; false when that does not come.
  bool reaches(const std::string& id, v1::JobRecord::State state) {
    if (eventually([&] { return get(id).state() == state; })) return true;
    ADD_FAILURE() << id << " is " << v1::JobRecord::State_Name(get(id).state()) << ": " << get(id).message();
    return false;
  }

  static v1::RpcStatus details(const grpc::Status& status) {
    v1::RpcStatus parsed;
    EXPECT_TRUE(parsed.ParseFromString(status.error_details()));
    return parsed;
  }

  // One daemon, by hand.
  struct Daemon {
    std::string id;
    std::vector<v1::RankReport> held;
    v1::RegisterWorkerResponse registration;
    v1::SyncWorkerResponse last;
    uint64_t sequence = 0;
  };
  grpc::Status join(Daemon& daemon, uint32_t slots = 1, const std::string& version = "1",
                    const std::string& incarnation = "") {
    v1::RegisterWorkerRequest request;
    v1::Worker& worker = *request.mutable_worker();
    worker.set_worker_id(daemon.id);
    worker.set_version(version);
    worker.set_incarnation(incarnation.empty() ? "i-" + daemon.id : incarnation);
    worker.set_slots(slots);
    for (uint32_t i = 0; i < slots; ++i) {
      worker.add_devices()->set_free_memory_bytes(1 << 30);
      worker.mutable_devices(static_cast<int>(i))->set_kind("cpu");
      worker.mutable_devices(static_cast<int>(i))->set_healthy(true);
    }
    const grpc::Status status = workers_->RegisterWorker(context().get(), request, &daemon.registration);
    return status.ok() ? sync(daemon) : status;
  }
  grpc::Status sync(Daemon& daemon, uint64_t wait_ms = 0) {
    v1::SyncWorkerRequest request;
    request.set_worker_id(daemon.id);
    request.set_incarnation("i-" + daemon.id);
    request.set_sequence(++daemon.sequence);
    request.set_session(daemon.registration.session());
    request.set_wait_milliseconds(wait_ms);
    request.set_seen_revision(daemon.last.revision());
    for (const v1::RankReport& report : daemon.held) *request.add_ranks() = report;
    v1::SyncWorkerResponse response;
    const grpc::Status status = workers_->SyncWorker(context().get(), request, &response);
    if (!status.ok()) return status;
    daemon.last = response;
    std::erase_if(daemon.held, [&response](const v1::RankReport& report) {
      return std::none_of(response.assignments().begin(), response.assignments().end(),
                          [&report](const v1::Assignment& a) {
                            return a.id().epoch() == report.id().epoch() && a.rank() == report.rank();
                          });
    });
    return status;
  }
  // Takes up what it is given, waiting for it if need be, and reports it as training at `step`.
  void train(Daemon& daemon, uint64_t step) {
    for (int i = 0; i < 100 && daemon.last.assignments_size() == 0; ++i) ASSERT_TRUE(sync(daemon, 100).ok());
    for (const v1::Assignment& assignment : daemon.last.assignments()) {
      auto it = std::find_if(daemon.held.begin(), daemon.held.end(), [&assignment](const v1::RankReport& r) {
        return r.id().epoch() == assignment.id().epoch() && r.rank() == assignment.rank();
      });
      if (it == daemon.held.end()) it = daemon.held.insert(it, v1::RankReport());
      *it->mutable_id() = assignment.id();
      it->set_rank(assignment.rank());
      it->set_phase(v1::RankReport::RUNNING);
      it->mutable_stage()->set_name("train");
      it->mutable_progress()->set_step(step);
    }
    ASSERT_TRUE(sync(daemon).ok());
  }
  void finish(Daemon& daemon, v1::Finished::Outcome outcome) {
    for (v1::RankReport& report : daemon.held) {
      report.set_phase(v1::RankReport::EXITED);
      report.mutable_finished()->set_outcome(outcome);
      report.mutable_finished()->set_train_loss(1.25);
    }
    ASSERT_TRUE(sync(daemon).ok());
  }
  grpc::Status publish(const Daemon& daemon, const v1::AttemptId& id, uint64_t step) {
    v1::PublishCheckpointRequest request;
    *request.mutable_id() = id;
    request.set_step(step);
    request.set_folder(absl::StrCat(get(id.job_id()).folder(), "/checkpoints/step-", step));
    request.set_worker_id(daemon.id);
    v1::PublishCheckpointResponse response;
    return workers_->PublishCheckpoint(context().get(), request, &response);
  }

  std::string folder_;
  ServerOptions options_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
};

}  // namespace galleon::server

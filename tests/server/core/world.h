// A scheduler under a hand-moved clock with workers that the test speaks for, shared by the tests of the core.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/core/scheduler.h"

namespace galleon::server {

inline v1::Job job_named(const std::string& name, uint32_t ranks = 1) {
  v1::Job job;
  job.set_name(name);
  job.mutable_parallel()->set_ranks(ranks);
  job.mutable_scheduling()->set_queue("default");
  job.mutable_scheduling()->set_max_retries(3);
  job.mutable_shape()->set_architecture("llama");
  return job;
}

inline v1::MemoryPlan plan_of(uint32_t ranks, uint64_t peak_bytes) {
  v1::MemoryPlan plan;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    plan.add_ranks()->set_rank(rank);
    plan.mutable_ranks(static_cast<int>(rank))->set_peak_bytes(peak_bytes);
  }
  return plan;
}

inline v1::Worker worker_named(const std::string& id, uint32_t slots, uint64_t bytes = 1 << 30,
                               const std::string& kind = "cpu") {
  v1::Worker worker;
  worker.set_worker_id(id);
  worker.set_version("1");
  worker.set_incarnation("i-" + id);
  worker.set_slots(slots);
  for (uint32_t i = 0; i < slots; ++i) {
    v1::DeviceInfo& device = *worker.add_devices();
    device.set_kind(kind);
    device.set_free_memory_bytes(bytes);
    device.set_healthy(true);
  }
  return worker;
}

class World {
 public:
  explicit World(SchedulerOptions wanted = {}) : options(std::move(wanted)) {
    options.version = "1";
    restart();
  }

  // The process dies and comes back: what was journaled is all that is left.
  void restart() {
    if (scheduler != nullptr) collect();
    scheduler = std::make_unique<Scheduler>(options);
    for (const v1::JournalEvent& event : journal) scheduler->replay(event);
    scheduler->recovered(now);
  }

  void collect() {
    for (v1::JournalEvent& event : scheduler->take_events()) {
      if (event.has_attempt_reserved() && folders_answer) scheduler->confirm_start(now, event.attempt_reserved().id());
      journal.push_back(std::move(event));
    }
  }

  void tick(int64_t ms = 0) {
    now.wall_ms += ms;
    now.mono_ms += ms;
    scheduler->tick(now);
    collect();
    scheduler->round_over();
  }

  std::string submit(const v1::Job& job, uint64_t bytes = 1 << 20) {
    absl::StatusOr<std::string> id =
        scheduler->submit(now, {job, plan_of(job.parallel().ranks(), bytes), "", "/jobs", scheduler->next_number()});
    EXPECT_TRUE(id.ok()) << id.status();
    tick();
    return id.value_or("");
  }

  absl::Status join(const v1::Worker& worker) {
    absl::Status status = scheduler->register_worker(now, worker);
    sequences[worker.worker_id()] = 0;
    if (status.ok()) status = sync(worker.worker_id());
    return status;
  }

  // The worker reports what it holds (all of `held` that is on it).
  absl::Status sync(const std::string& worker, bool leaving = false) {
    v1::SyncWorkerRequest request;
    request.set_worker_id(worker);
    request.set_incarnation("i-" + worker);
    request.set_sequence(++sequences[worker]);
    request.set_leaving(leaving);
    for (const v1::RankReport& report : held[worker]) *request.add_ranks() = report;
    const absl::Status status = scheduler->sync(now, request);
    tick();
    return status;
  }

  v1::SyncWorkerResponse assignments(const std::string& worker) {
    return scheduler->assignments(now, worker, sequences[worker]);
  }

  // Takes up all that the worker is assigned, as LAUNCHING, and says so.
  void take_up(const std::string& worker) {
    const v1::SyncWorkerResponse response = assignments(worker);
    for (const v1::Assignment& assignment : response.assignments()) {
      if (assignment.stop() || find(worker, assignment.id().job_id(), assignment.rank()) != nullptr) continue;
      v1::RankReport& report = held[worker].emplace_back();
      *report.mutable_id() = assignment.id();
      report.set_rank(assignment.rank());
      report.set_phase(v1::RankReport::LAUNCHING);
    }
    EXPECT_TRUE(sync(worker).ok());
  }

  v1::RankReport* find(const std::string& worker, const std::string& job_id, uint32_t rank) {
    for (v1::RankReport& report : held[worker]) {
      if (report.id().job_id() == job_id && report.rank() == rank) return &report;
    }
    return nullptr;
  }

  void train(const std::string& worker, const std::string& job_id, uint32_t rank, uint64_t step) {
    v1::RankReport& report = *find(worker, job_id, rank);
    report.set_phase(v1::RankReport::RUNNING);
    report.mutable_stage()->set_name("train");
    report.mutable_progress()->set_step(step);
    report.mutable_progress()->set_loss(3.0);
    EXPECT_TRUE(sync(worker).ok());
  }

  void finish(const std::string& worker, const std::string& job_id, uint32_t rank, v1::Finished::Outcome outcome,
              const std::string& message = "", bool permanent = false) {
    v1::RankReport& report = *find(worker, job_id, rank);
    report.set_phase(v1::RankReport::EXITED);
    report.mutable_finished()->set_outcome(outcome);
    report.mutable_finished()->set_message(message);
    report.mutable_finished()->set_permanent(permanent);
    EXPECT_TRUE(sync(worker).ok());
  }

  void killed(const std::string& worker, const std::string& job_id, uint32_t rank, int signal, bool by_daemon = false) {
    v1::RankReport& report = *find(worker, job_id, rank);
    report.set_phase(v1::RankReport::EXITED);
    report.set_exit_signal(signal);
    report.set_signalled_by_daemon(by_daemon);
    EXPECT_TRUE(sync(worker).ok());
  }

  // Forgets what the scheduler no longer lists, as a daemon does.
  void forget_unlisted(const std::string& worker) {
    const v1::SyncWorkerResponse response = assignments(worker);
    std::erase_if(held[worker], [&](const v1::RankReport& report) {
      for (const v1::Assignment& assignment : response.assignments()) {
        if (assignment.id().epoch() == report.id().epoch() && assignment.rank() == report.rank()) return false;
      }
      return true;
    });
  }

  absl::Status publish(const std::string& worker, const std::string& job_id, uint64_t epoch, uint64_t step,
                       const std::string& folder = "") {
    v1::PublishCheckpointRequest request;
    request.mutable_id()->set_job_id(job_id);
    request.mutable_id()->set_attempt(record(job_id).attempts());
    request.mutable_id()->set_epoch(epoch);
    request.set_step(step);
    request.set_folder(folder.empty() ? absl::StrCat("/jobs/", job_id, "/checkpoints/step-", step) : folder);
    request.set_worker_id(worker);
    const absl::Status status = scheduler->publish_checkpoint(now, request);
    collect();
    return status;
  }

  v1::JobRecord record(const std::string& job_id) { return scheduler->describe(*scheduler->state().job(job_id), now); }
  v1::JobRecord::State state(const std::string& job_id) { return record(job_id).state(); }
  v1::Worker worker(const std::string& id) { return scheduler->describe(*scheduler->state().worker(id)); }

  SchedulerOptions options;
  Now now{1'700'000'000'000, 1'000};
  bool folders_answer = true;  // jobs' folders are made at once
  std::unique_ptr<Scheduler> scheduler;
  std::vector<v1::JournalEvent> journal;
  std::map<std::string, uint64_t> sequences;
  std::map<std::string, std::vector<v1::RankReport>> held;
};

}  // namespace galleon::server

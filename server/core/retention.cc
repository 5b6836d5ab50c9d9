// What leaves the lists: jobs that ended long ago, workers that have been gone for long.
#include <algorithm>
#include <cstdlib>
#include <set>

#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr int64_t kPauseMs = 10'000;       // between two looks
constexpr size_t kMostAtOnce = 500;        // so that no round is long
constexpr int64_t kClockJumpMs = 600'000;  // more than clocks are corrected by in normal life

}  // namespace

void Scheduler::forget_old(Now now) {
  if (now.mono_ms < next_forget_ms_) return;
  next_forget_ms_ = now.mono_ms + kPauseMs;
  // A calendar clock that has jumped makes nothing old.
  const int64_t drift = (now.wall_ms - start_.wall_ms) - (now.mono_ms - start_.mono_ms);
  const bool clock_holds = std::llabs(drift) < kClockJumpMs;

  std::vector<std::string> workers;
  for (const auto& [id, worker] : state_.workers()) {
    const bool old = clock_holds && now.wall_ms - worker.last_seen_time_ms() > options_.gone_retention_ms;
    const bool ordered = worker.ordered() == v1::Worker::CORDONED || worker.ordered() == v1::Worker::DRAINING;
    if (worker.state() == v1::Worker::GONE && old && !ordered) workers.push_back(id);
  }
  for (const std::string& id : workers) {
    v1::JournalEvent event;
    event.mutable_worker_forgotten()->set_worker_id(id);
    emit(now, std::move(event));
  }

  const size_t alive = state_.queue().size() + state_.active().size();
  size_t ended = state_.jobs().size() - alive;
  if (ended == 0) return;
  std::set<std::string> needed;
  for (const auto& [key, job] : state_.dependent()) {
    for (const std::string& name : job->record().job().scheduling().after()) needed.insert(job_id_of(name));
  }
  std::vector<std::string> jobs;
  for (const auto& [number, job] : state_.jobs()) {
    const v1::JobRecord& record = job->record();
    if (!is_terminal(record.state()) || needed.contains(record.job_id())) continue;
    const bool old = clock_holds && now.wall_ms - record.end_time_ms() > options_.ended_retention_ms;
    if (!old && ended <= options_.most_ended) {
      // Ages grow with numbers, roughly: who is next has ended later.
      if (now.wall_ms - record.create_time_ms() <= options_.ended_retention_ms) break;
      continue;
    }
    jobs.push_back(record.job_id());
    --ended;
    if (jobs.size() == kMostAtOnce) {
      next_forget_ms_ = now.mono_ms;
      break;
    }
  }
  for (const std::string& id : jobs) {
    v1::JournalEvent event;
    event.mutable_job_forgotten()->set_job_id(id);
    emit(now, std::move(event));
  }
}

}  // namespace galleon::server

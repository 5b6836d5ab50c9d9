// What leaves the lists: jobs that ended long ago, workers that have been gone for long.
#include "server/core/retention.h"

#include <algorithm>
#include <set>

#include "server/core/dependency.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr int64_t kPauseMs = 10'000;  // between two looks
constexpr size_t kMostAtOnce = 500;   // so that no round is long
constexpr int64_t kDayMs = 24 * 3'600'000;
constexpr int64_t kFirstMs = 600'000;  // what the first job costs: a process that always starts anew deletes little

}  // namespace

bool ForgettingPace::allows(int64_t end_ms, int64_t mono_ms) {
  saved_ms_ = std::min(kDayMs, saved_ms_ + mono_ms - counted_ms_);
  counted_ms_ = mono_ms;
  const int64_t price = newest_end_ms_ ? std::clamp<int64_t>(end_ms - *newest_end_ms_, 0, kDayMs) : kFirstMs;
  if (price > saved_ms_) return false;
  saved_ms_ -= price;
  newest_end_ms_ = std::max(end_ms, newest_end_ms_.value_or(end_ms));
  return true;
}

int64_t Scheduler::age_clock_ms(Now now) const {
  return std::min(now.wall_ms, journaled_ms_ + now.mono_ms - start_.mono_ms);
}

void Scheduler::forget_workers(Now now) {
  std::vector<std::string> workers;
  for (const auto& [id, worker] : state_.workers()) {
    const bool old = age_clock_ms(now) - worker.last_seen_time_ms() > options_.gone_retention_ms;
    const bool ordered = worker.ordered() == v1::Worker::CORDONED || worker.ordered() == v1::Worker::DRAINING;
    if (worker.state() == v1::Worker::GONE && old && !ordered) workers.push_back(id);
  }
  for (const std::string& id : workers) {
    v1::JournalEvent event;
    event.mutable_worker_forgotten()->set_worker_id(id);
    emit(now, std::move(event));
  }
}

std::vector<std::string> Scheduler::forgettable(Now now) {
  const size_t alive = state_.queue().size() + state_.active().size();
  size_t ended = state_.jobs().size() - alive;
  if (ended == 0) return {};
  std::set<std::string> needed;
  for (const auto& [key, job] : state_.dependent()) {
    for (const std::string& name : job->record().job().scheduling().after()) needed.insert(dependency_of(name).job_id);
  }
  std::vector<std::string> going;
  std::vector<const v1::JobRecord*> old;
  const int64_t clock_ms = age_clock_ms(now);
  for (const auto& [number, job] : state_.jobs()) {
    const v1::JobRecord& record = job->record();
    const bool too_many = ended > options_.most_ended && going.size() < kMostAtOnce;
    const int64_t since_submit_ms = clock_ms - record.create_time_ms();
    // Ages grow with numbers, but for jobs of a clock that was ahead: who is next has ended later.
    if (!too_many && since_submit_ms >= 0 && since_submit_ms <= options_.ended_retention_ms) break;
    if (!is_terminal(record.state()) || needed.contains(record.job_id())) continue;
    if (too_many) {
      going.push_back(record.job_id());
      --ended;
    } else if (clock_ms - record.end_time_ms() > options_.ended_retention_ms) {
      old.push_back(&record);
    }
  }
  const size_t considered = std::min(old.size(), kMostAtOnce - going.size());
  std::partial_sort(old.begin(), old.begin() + static_cast<std::ptrdiff_t>(considered), old.end(),
                    [](const v1::JobRecord* a, const v1::JobRecord* b) { return a->end_time_ms() < b->end_time_ms(); });
  for (size_t i = 0; i < considered && pace_.allows(old[i]->end_time_ms(), now.mono_ms); ++i)
    going.push_back(old[i]->job_id());
  return going;
}

void Scheduler::forget_old(Now now) {
  if (now.mono_ms < next_forget_ms_) return;
  forget_workers(now);
  const std::vector<std::string> jobs = forgettable(now);
  next_forget_ms_ = jobs.size() == kMostAtOnce ? now.mono_ms : now.mono_ms + kPauseMs;
  for (const std::string& id : jobs) {
    v1::JournalEvent event;
    event.mutable_job_forgotten()->set_job_id(id);
    emit(now, std::move(event));
  }
}

}  // namespace galleon::server

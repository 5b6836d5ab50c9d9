// What leaves the lists: jobs that ended long ago, workers that have been gone for long.
#include "server/core/retention.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/duration_text.h"
#include "server/core/dependency.h"
#include "server/core/job_paths.h"
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

std::set<std::string> needed_jobs(const State& state, bool folders, const std::string& jobs_folder) {
  std::set<std::string> needed;
  for (const auto& [key, job] : state.dependent()) {
    for (const std::string& name : job->record().job().scheduling().after()) needed.insert(dependency_of(name).job_id);
  }
  if (!folders) return needed;
  const auto reads = [&](const v1::JobState& job) {
    for (const std::string& path : read_paths(job.record().job())) {
      const std::string id = first_below(path, jobs_folder);
      if (!id.empty() && id != job.record().job_id()) needed.insert(id);
    }
    if (!job.readable_folder().empty()) needed.insert(first_below(job.readable_folder() + "/", jobs_folder));
  };
  for (const auto& [key, job] : state.queue()) reads(*job);
  for (const uint64_t number : state.active()) reads(*state.job_by_number(number));
  return needed;
}

Retention Scheduler::retention_of(absl::string_view queue) const {
  const QueueConfig* config = queue_config(queue);
  Retention retention = config == nullptr ? Retention() : config->retention;
  if (!retention.age_ms.has_value()) retention.age_ms = options_.ended_retention_ms;
  return retention;
}

// The oldest go first, of each queue and of all.
std::vector<v1::JobForgotten> Scheduler::forgettable(Now now) {
  const int64_t clock_ms = age_clock_ms(now);
  struct Queue {
    Retention kept;
    uint64_t ended = 0;               // that nobody needs
    std::vector<JobFacts> backlog;    // too old from the start
    std::vector<JobFacts> grown_old;  // since then
  };
  std::map<std::string, Queue, std::less<>> queues;
  uint64_t ended = 0;
  int64_t shortest_ms = options_.ended_retention_ms;
  bool folders = false;
  for (const auto& [key, count] : state_.counts()) {
    if (!is_terminal(static_cast<v1::JobRecord::State>(key.second)) || count == 0) continue;
    Queue& queue = queues[key.first];
    queue.kept = retention_of(key.first);
    queue.ended += static_cast<uint64_t>(count);
    ended += static_cast<uint64_t>(count);
    shortest_ms = std::min(shortest_ms, *queue.kept.age_ms);
    folders |= queue.kept.folders != Retention::Folders::kKeep;
  }
  if (ended == 0) return {};
  for (const auto& [id, queue] : queues) {
    KeptQueue& known = kept_[id];
    if (known.age_ms < 0) known.pace.start(start_.mono_ms);
    if (known.age_ms != *queue.kept.age_ms) known.backlog_ms = clock_ms - *queue.kept.age_ms;
    known.age_ms = *queue.kept.age_ms;
  }
  const std::set<std::string> needed = needed_jobs(state_, folders, options_.jobs_folder);
  for (const std::string& id : needed) {
    const std::optional<JobFacts> facts = state_.facts(id);
    if (!facts.has_value() || !is_terminal(facts->state)) continue;
    --queues.find(facts->queue)->second.ended;
    --ended;
  }
  const auto too_many = [&](const Queue& queue) {
    return ended > options_.most_ended || (queue.kept.jobs > 0 && queue.ended > queue.kept.jobs);
  };
  std::vector<v1::JobForgotten> going;
  for (const auto& [number, job] : state_.jobs()) {
    const JobFacts facts = job.facts();
    const int64_t since_submit_ms = clock_ms - facts.create_time_ms;
    // Ages grow with numbers, but for jobs of a clock that was ahead: who is next has ended later.
    const bool young = since_submit_ms >= 0 && since_submit_ms <= shortest_ms;
    if (going.size() == kMostAtOnce) break;
    if (young && std::none_of(queues.begin(), queues.end(), [&](const auto& q) { return too_many(q.second); })) break;
    if (!is_terminal(facts.state) || needed.contains(std::string(facts.job_id))) continue;
    Queue& queue = queues.find(facts.queue)->second;
    if (too_many(queue)) {
      const bool of_all = queue.kept.jobs == 0 || queue.ended <= queue.kept.jobs;
      going.push_back(forgotten(facts, queue.kept,
                                absl::StrCat("more than ", of_all ? options_.most_ended : queue.kept.jobs,
                                             of_all ? " have ended" : " have ended in its queue")));
      --ended;
      --queue.ended;
    } else if (clock_ms - facts.end_time_ms > *queue.kept.age_ms) {
      (facts.end_time_ms <= kept_[std::string(facts.queue)].backlog_ms ? queue.backlog : queue.grown_old)
          .push_back(facts);
    }
  }
  for (auto& [id, queue] : queues) {
    const auto go = [&, &kept = queue.kept](const JobFacts& facts) {
      going.push_back(forgotten(
          facts, kept, absl::StrCat("ended more than ", duration_text(absl::Milliseconds(*kept.age_ms)), " ago")));
      going.back().set_by_age(true);
    };
    for (size_t i = 0; i < queue.grown_old.size() && going.size() < kMostAtOnce; ++i) go(queue.grown_old[i]);
    const size_t considered = std::min(queue.backlog.size(), kMostAtOnce - going.size());
    std::partial_sort(queue.backlog.begin(), queue.backlog.begin() + static_cast<std::ptrdiff_t>(considered),
                      queue.backlog.end(),
                      [](const JobFacts& a, const JobFacts& b) { return a.end_time_ms < b.end_time_ms; });
    for (size_t i = 0; i < considered && kept_[id].pace.allows(queue.backlog[i].end_time_ms, now.mono_ms); ++i)
      go(queue.backlog[i]);
  }
  return going;
}

v1::JobForgotten Scheduler::forgotten(const JobFacts& facts, const Retention& kept, std::string reason) const {
  v1::JobForgotten gone;
  gone.set_job_id(std::string(facts.job_id));
  gone.set_queue(std::string(facts.queue));
  if (kept.folders != Retention::Folders::kKeep) {
    const bool keeps = kept.folders == Retention::Folders::kCheckpoints;
    const v1::FolderRemoval removal = removal_of(*state_.job(facts.job_id), options_.jobs_folder, keeps);
    if (!removal.folder().empty()) *gone.mutable_removal() = removal;
  }
  gone.set_reason(std::move(reason));
  return gone;
}

void Scheduler::forget_old(Now now) {
  if (now.mono_ms < next_forget_ms_) return;
  forget_workers(now);
  std::vector<v1::JobForgotten> jobs = forgettable(now);
  next_forget_ms_ = jobs.size() == kMostAtOnce ? now.mono_ms : now.mono_ms + kPauseMs;
  for (v1::JobForgotten& gone : jobs) {
    v1::JournalEvent event;
    *event.mutable_job_forgotten() = std::move(gone);
    emit(now, std::move(event));
  }
}

}  // namespace galleon::server

// What time brings: leases that end, deadlines of attempts, dependencies, and the pass that places queued jobs.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/duration_text.h"
#include "server/core/dependency.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr int64_t kEstimatePauseMs = 10'000;  // between two looks at when queued jobs can start

}  // namespace

void Scheduler::tick(Now now) {
  record_projects(now);
  record_half_lives(now);
  check_workers(now);
  check_attempts(now);
  if (next_retry_ms_ != 0 &&
      (now.wall_ms >= next_retry_ms_ || now.wall_ms < next_retry_ms_ - options_.most_backoff_ms())) {
    dirty_ = true;
  }
  if (next_spared_ms_ != 0 && now.mono_ms >= next_spared_ms_) dirty_ = true;
  check_holds(now);
  forget_old(now);
  check_long_waits(now);
  check_queue_timeouts(now);
  // What is expected of running jobs changes with each step that they make.
  if (now.mono_ms >= next_estimate_ms_ && !state_.queue().empty() && !state_.active().empty()) dirty_ = true;
  pass_ran_ = dirty_ && now.mono_ms >= next_pass_ms_;
  if (!pass_ran_) return;
  dirty_ = false;
  next_estimate_ms_ = now.mono_ms + kEstimatePauseMs;
  check_rungs(now);
  check_dependencies(now);
  place_queued(now);
  yield_slots(now);
  // A small part of the time goes into passes, however long the queue.
  next_pass_ms_ = now.mono_ms + static_cast<int64_t>(state_.queue().size() / 200);
}

void Scheduler::check_holds(Now now) {
  const std::set<uint64_t> holding = state_.holding();
  std::erase_if(fleet_.holds, [&holding](const auto& hold) { return !holding.contains(hold.first); });
  const int64_t longest = options_.stop_grace_ms + options_.lease_ms + options_.reservation_ms;
  for (const uint64_t number : holding) {
    const v1::JobState& job = *state_.job_by_number(number);
    const auto& after = job.record().job().scheduling().after();
    const bool depends = std::any_of(after.begin(), after.end(), [this](const std::string& entry) {
      const Dependency dependency = dependency_of(entry);
      return dependency.judge(state_.job_state(dependency.job_id)) != Dependency::Verdict::kMet;
    });
    if (depends) {
      // Somebody has the one before it go on.
      give_up_held(now, job, "waits for a job before it again");
      fleet_.holds.erase(number);
      continue;
    }
    const int64_t since = fleet_.holds.emplace(number, now.mono_ms).first->second;
    if (now.mono_ms - since <= longest) continue;
    give_up_held(
        now, *state_.job_by_number(number),
        absl::StrCat("slots that others were to release did not become usable within ", longest / 1000.0, " s"));
    fleet_.holds.erase(number);
  }
}

void Scheduler::check_workers(Now now) {
  std::vector<std::string> lost;
  std::vector<std::string> left;
  for (auto& [id, worker] : fleet_.workers) {
    if (now.mono_ms > worker.lease_end_ms) {
      lost.push_back(id);
      continue;
    }
    const bool unreachable = now.mono_ms > worker.expected_ms + options_.missed_syncs_ms();
    if (unreachable != worker.unreachable) dirty_ = true;
    worker.unreachable = unreachable;
    // And is silent: there is no lease to wait for.
    if (unreachable && holds_nothing_and_leaves(id)) left.push_back(id);
  }
  for (const std::string& id : lost) {
    lose_worker(
        now, id,
        absl::StrCat("worker ", id, " has not been heard of for its lease of ", options_.lease_ms / 1000.0, " s"));
  }
  for (const std::string& id : left) worker_left(now, id);
}

bool Scheduler::holds_nothing_and_leaves(const std::string& worker_id) const {
  const auto it = fleet_.workers.find(worker_id);
  return it != fleet_.workers.end() && it->second.leaving && it->second.foreign_ranks == 0 &&
         state_.leased_slots(worker_id).empty();
}

void Scheduler::worker_left(Now now, const std::string& worker_id) {
  lose_worker(now, worker_id, "has left: it was shut down, and held nothing any more");
}

void Scheduler::shut_down(Now now) {
  std::vector<std::string> left;
  for (const auto& [id, worker] : fleet_.workers) {
    if (holds_nothing_and_leaves(id)) left.push_back(id);
  }
  for (const std::string& id : left) worker_left(now, id);
}

const v1::AttemptState* Scheduler::unoffered(Now now, const v1::AttemptId& id) {
  const v1::JobState* job = state_.job(id.job_id());
  const v1::AttemptState* attempt = job == nullptr ? nullptr : live_attempt(*job);
  if (attempt == nullptr || attempt->attempt().epoch() != id.epoch()) return nullptr;
  return live(now, *job, *attempt).offered_ms < 0 ? attempt : nullptr;
}

void Scheduler::confirm_start(Now now, const v1::AttemptId& id) {
  const v1::AttemptState* attempt = unoffered(now, id);
  if (attempt == nullptr) return;
  live(now, *state_.job(id.job_id()), *attempt).offered_ms = now.mono_ms;
  touch(*attempt);
}

void Scheduler::refuse_start(Now now, const v1::AttemptId& id, const std::string& reason) {
  const v1::AttemptState* attempt = unoffered(now, id);
  const v1::JobState* job = state_.job(id.job_id());
  if (attempt == nullptr || attempt->closed() || job->record().state() != v1::JobRecord::RESERVED) return;
  close_attempt(now, *job, reason);
  settle(now, *job);
}

void Scheduler::check_attempts(Now now) {
  const std::set<uint64_t> active = state_.active();
  for (const uint64_t number : active) check_attempt(now, *state_.job_by_number(number));
}

void Scheduler::check_attempt(Now now, const v1::JobState& job) {
  const v1::AttemptState* attempt = live_attempt(job);
  if (attempt == nullptr || attempt->closed()) return;
  const AttemptLive& known = live(now, job, *attempt);
  if (attempt->has_stop()) {
    const int64_t grace = static_cast<int64_t>(attempt->stop().grace_milliseconds());
    // The daemons end the grace time by themselves; this is for those that do not.
    if (now.mono_ms - known.stop_ms > grace + 2 * options_.sync_ms) {
      close_attempt(now, job, absl::StrCat("did not stop within ", grace / 1000.0, " s"));
      settle(now, job);
    }
    return;
  }
  std::string reason;
  if (job.record().state() == v1::JobRecord::RESERVED && known.offered_ms >= 0 &&
      now.mono_ms - known.offered_ms > options_.reservation_ms) {
    for (int rank = 0; rank < attempt->ranks_size(); ++rank) {
      if (known.ranks[rank].reported) continue;
      reason = absl::StrCat("worker ", attempt->ranks(rank).worker_id(), " did not take up rank ", rank, " within ",
                            options_.reservation_ms / 1000.0, " s");
    }
  }
  if (job.record().state() == v1::JobRecord::STARTING && now.mono_ms - known.change_ms > options_.start_stall_ms) {
    reason = absl::StrCat("nothing new was heard of the starting attempt for ", options_.start_stall_ms / 1000.0, " s");
  }
  if (known.success_ms >= 0 && now.mono_ms - known.success_ms > options_.straggler_ms) {
    reason = absl::StrCat("not all ranks ended within ", options_.straggler_ms / 1000.0, " s of the first");
  }
  if (!reason.empty()) {
    close_attempt(now, job, reason);
    return settle(now, job);
  }
  check_time_limit(now, job);
}

// The order to stop is the warning: it comes so early that a checkpoint can be written before the limit.
void Scheduler::check_time_limit(Now now, const v1::JobState& job) {
  const int64_t limit_ms = time_limit_ms(job.record().job());
  if (limit_ms == kNever || job.record().state() == v1::JobRecord::RESERVED) return;
  const int64_t warning_ms = std::min(options_.stop_grace_ms, limit_ms / 5);
  const int64_t ran_ms = job.ran_ms() + live(now, job, *live_attempt(job)).ran_ms(now.mono_ms);
  if (ran_ms < limit_ms - warning_ms) return;
  order_stop(now, job, v1::StopOrder::TIME_LIMIT,
             absl::StrCat("ran into its time limit of ", duration_text(absl::Milliseconds(limit_ms))), warning_ms);
}

void Scheduler::check_dependencies(Now now) {
  struct Hopeless {
    std::string job_id;
    v1::JobRecord::State end;
    std::string message;
  };
  std::vector<Hopeless> hopeless;
  for (const auto& [key, job] : state_.dependent()) {
    for (const std::string& entry : job->record().job().scheduling().after()) {
      const Dependency dependency = dependency_of(entry);
      const std::optional<v1::JobRecord::State> before = state_.job_state(dependency.job_id);
      if (dependency.judge(before) != Dependency::Verdict::kHopeless) continue;
      const v1::JobRecord::State ended = *before;
      const bool after_failure = dependency.condition == Dependency::Condition::kFailed;
      // What was to follow a failure that did not come is not wanted any more.
      hopeless.push_back({job->record().job_id(), after_failure ? v1::JobRecord::CANCELLED : ended,
                          absl::StrCat("was to run after ", after_failure ? "a failure of " : "", "jobs/",
                                       dependency.job_id, ", which ended as ", v1::JobRecord::State_Name(ended))});
      break;
    }
  }
  // Those that wait for the ones that end here are found by the same rule, one pass for each link of the chain.
  for (const Hopeless& job : hopeless) end_job(now, *state_.job(job.job_id), job.end, job.message);
  if (!hopeless.empty()) check_dependencies(now);
}

bool Scheduler::takes_work(const v1::Worker& worker) const {
  const auto it = fleet_.workers.find(worker.worker_id());
  if (worker.state() != v1::Worker::READY || it == fleet_.workers.end()) return false;
  const WorkerLive& live = it->second;
  return live.synced && !live.unreachable && !live.leaving && live.foreign_ranks == 0;
}

}  // namespace galleon::server

// What time brings: leases that end, deadlines of attempts, dependencies, and the pass that places queued jobs.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

void Scheduler::tick(Now now) {
  check_workers(now);
  check_attempts(now);
  if (next_retry_ms_ != 0 &&
      (now.wall_ms >= next_retry_ms_ || now.wall_ms < next_retry_ms_ - options_.longest_backoff_ms)) {
    dirty_ = true;
  }
  pass_ran_ = dirty_;
  if (!dirty_) return;
  check_dependencies(now);
  place_queued(now);
  dirty_ = false;
}

void Scheduler::check_workers(Now now) {
  std::vector<std::string> lost;
  for (auto& [id, worker] : fleet_.workers) {
    if (now.mono_ms > worker.lease_end_ms) {
      lost.push_back(id);
      continue;
    }
    const bool unreachable = now.mono_ms > worker.expected_ms + 4 * options_.sync_ms;
    if (unreachable != worker.unreachable) dirty_ = true;
    worker.unreachable = unreachable;
  }
  for (const std::string& id : lost) lose_worker(now, id);
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
  if (job.record().state() == v1::JobRecord::RESERVED && now.mono_ms - known.since_ms > options_.reservation_ms) {
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
  const v1::Scheduling& scheduling = job.record().job().scheduling();
  if (!scheduling.has_time_limit() || job.record().state() == v1::JobRecord::RESERVED) return;
  const int64_t limit_ms = static_cast<int64_t>(std::min<uint64_t>(scheduling.time_limit(), 1ULL << 40)) * 1000;
  if (job.ran_ms() + now.wall_ms - attempt->attempt().start_time_ms() <= limit_ms) return;
  order_stop(now, job, v1::StopOrder::TIME_LIMIT,
             absl::StrCat("ran into its time limit of ", absl::FormatDuration(absl::Milliseconds(limit_ms))));
}

void Scheduler::check_dependencies(Now now) {
  std::vector<std::pair<std::string, std::string>> hopeless;
  for (const auto& [key, job] : state_.queue()) {
    for (const std::string& name : job->record().job().scheduling().after()) {
      const v1::JobState* before = state_.job(job_id_of(name));
      if (before == nullptr || !is_terminal(before->record().state()) ||
          before->record().state() == v1::JobRecord::SUCCEEDED)
        continue;
      hopeless.emplace_back(job->record().job_id(),
                            absl::StrCat("was to run after ", before->record().name(), ", which ended as ",
                                         v1::JobRecord::State_Name(before->record().state())));
      break;
    }
  }
  // Those that wait for the ones that end here are found by the same rule, one pass for each link of the chain.
  for (const auto& [id, message] : hopeless) end_job(now, *state_.job(id), v1::JobRecord::FAILED, message);
  if (!hopeless.empty()) check_dependencies(now);
}

bool Scheduler::takes_work(const v1::Worker& worker) const {
  const auto it = fleet_.workers.find(worker.worker_id());
  if (worker.state() != v1::Worker::READY || it == fleet_.workers.end()) return false;
  const WorkerLive& live = it->second;
  return live.synced && !live.unreachable && !live.leaving && live.foreign_ranks == 0;
}

std::vector<WorkerSlots> Scheduler::slots() const {
  std::vector<WorkerSlots> fleet;
  for (const auto& [id, worker] : state_.workers()) {
    const auto it = fleet_.workers.find(id);
    if (worker.state() == v1::Worker::GONE || it == fleet_.workers.end() || it->second.leaving) continue;
    WorkerSlots entry;
    entry.worker_id = id;
    entry.labels.insert(worker.labels().begin(), worker.labels().end());
    const std::map<uint32_t, SlotUse>& leased = state_.leased_slots(id);
    const bool takes = takes_work(worker);
    for (uint32_t i = 0; i < it->second.devices.size(); ++i) {
      const v1::DeviceInfo& device = it->second.devices[i];
      entry.slots.push_back(
          {i, device.free_memory_bytes(), device.kind() == "cuda", device.healthy(), takes && !leased.contains(i)});
    }
    fleet.push_back(std::move(entry));
  }
  return fleet;
}

void Scheduler::place_queued(Now now) {
  next_retry_ms_ = 0;
  if (state_.queue().empty()) {
    waits_.clear();
    return;
  }
  Placement placement(slots());
  struct Chosen {
    std::string job_id;
    std::vector<Place> places;
  };
  std::vector<Chosen> chosen;
  std::vector<std::string> waiting;
  for (const auto& [key, job] : state_.queue()) {
    const v1::JobRecord& record = job->record();
    Wait wait;
    // A clock that went back by more than the longest backoff holds nobody.
    const bool backoff =
        now.wall_ms < job->not_before_ms() && now.wall_ms >= job->not_before_ms() - options_.longest_backoff_ms;
    for (const std::string& name : record.job().scheduling().after()) {
      const v1::JobState* before = state_.job(job_id_of(name));
      if (before == nullptr || before->record().state() == v1::JobRecord::SUCCEEDED) continue;
      wait.kind = Wait::Kind::kDependency;
      wait.job_id = before->record().name();
      break;
    }
    if (backoff) {
      wait.kind = Wait::Kind::kBackoff;
      wait.until_ms = job->not_before_ms();
      if (next_retry_ms_ == 0 || job->not_before_ms() < next_retry_ms_) next_retry_ms_ = job->not_before_ms();
    }
    if (!backoff && wait.job_id.empty()) {
      std::vector<Place> places = placement.offer(demand_of(record.job(), record.plan()), wait);
      if (!places.empty()) {
        chosen.push_back({record.job_id(), std::move(places)});
        continue;
      }
    }
    waiting.push_back(record.job_id());
    wait.position = static_cast<uint32_t>(waiting.size());
    waits_[record.job_id()] = wait;
  }
  for (const std::string& id : waiting) waits_[id].queued = static_cast<uint32_t>(waiting.size());
  for (const Chosen& choice : chosen) {
    const v1::JobState& job = *state_.job(choice.job_id);
    v1::JournalEvent event;
    v1::AttemptReserved& reserved = *event.mutable_attempt_reserved();
    reserved.mutable_id()->set_job_id(choice.job_id);
    reserved.mutable_id()->set_attempt(static_cast<uint32_t>(job.attempts_size()) + 1);
    reserved.mutable_id()->set_epoch(state_.last_epoch() + 1);
    reserved.set_resume_step(job.record().checkpoint().step());
    reserved.set_resume_epoch(job.record().checkpoint().epoch());
    for (const Place& place : choice.places) {
      v1::RankState& rank = *reserved.add_ranks();
      rank.set_worker_id(place.worker_id);
      rank.set_slot(place.slot);
    }
    waits_.erase(choice.job_id);
    emit(now, std::move(event));
    const v1::AttemptState& attempt = *live_attempt(job);
    live(now, job, attempt);
    touch(attempt);
  }
}

}  // namespace galleon::server

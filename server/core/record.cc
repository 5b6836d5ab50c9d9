// Jobs and workers as users see them: the durable record, the newest progress, and the reason for the state in words.
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/bounded_text.h"
#include "server/core/ended_record.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

std::string Scheduler::live_message(const v1::JobState& job) const {
  const v1::AttemptState* attempt = live_attempt(job);
  if (attempt == nullptr) return job.record().message();
  std::set<std::string> unreachable;
  std::set<std::string> holding;
  for (const v1::RankState& rank : attempt->ranks()) {
    if (rank.released()) continue;
    holding.insert(rank.worker_id());
    const auto it = fleet_.workers.find(rank.worker_id());
    if (it != fleet_.workers.end() && it->second.unreachable) unreachable.insert(rank.worker_id());
  }
  if (attempt->closed()) {
    return absl::StrCat(attempt->close_reason(), "; waiting for ", absl::StrJoin(holding, ", "),
                        " to release its slots");
  }
  if (attempt->has_stop()) {
    return absl::StrCat(attempt->stop().reason(), "; stopping on ", absl::StrJoin(holding, ", "));
  }
  if (!unreachable.empty()) {
    return absl::StrCat("worker ", absl::StrJoin(unreachable, ", "),
                        " is unreachable; the job goes on until its lease ends");
  }
  const AttemptLive* known = live_or_null(job);
  switch (job.record().state()) {
    case v1::JobRecord::RESERVED:
      return absl::StrCat("slots are reserved on ", absl::StrJoin(holding, ", "),
                          known != nullptr && known->offered_ms < 0 ? "; the job's folder is being made" : "");
    case v1::JobRecord::STARTING: {
      const v1::Stage stage = known == nullptr ? v1::Stage() : known->ranks[0].report.stage();
      if (stage.name().empty()) return absl::StrCat("starting on ", absl::StrJoin(holding, ", "));
      return absl::StrCat(stage.name(), stage.detail().empty() ? "" : ": ", stage.detail());
    }
    default:
      return absl::StrCat("running on ", absl::StrJoin(holding, ", "));
  }
}

v1::JobRecord ended_record(const v1::JobState& job) {
  v1::JobRecord record = job.record();
  record.set_etag(absl::StrCat(job.revision()));
  record.set_revision(job.revision());
  if (const v1::AttemptState* attempt = current_attempt(job); attempt != nullptr)
    *record.mutable_attempt() = attempt->attempt();
  // Journals of before may hold more.
  if (record.message().size() > kLongestText) record.set_message(bounded_text(record.message()));
  return record;
}

v1::JobRecord Scheduler::describe(const v1::JobState& job, Now now) const {
  v1::JobRecord record = ended_record(job);
  if (record.state() == v1::JobRecord::QUEUED) {
    const auto it = waiting_.find(job.number());
    const bool decided = it != waiting_.end() && it->second.decided;
    const std::string wait =
        decided ? wait_message(it->second.demand, it->second.wait, now.wall_ms) : "is looked at next";
    if (decided) {
      record.set_queue_position(it->second.wait.position);
      record.set_start_estimate_ms(it->second.wait.estimate_ms);
    }
    record.set_message(record.message().empty() ? wait : absl::StrCat(wait, "; ", record.message()));
  } else if (!is_terminal(record.state())) {
    record.set_message(live_message(job));
  }
  if (record.message().size() > kLongestText) record.set_message(bounded_text(record.message()));
  const AttemptLive* known = live_or_null(job);
  if (known == nullptr) return record;
  const v1::RankReport& first = known->ranks[0].report;
  if (first.has_stage()) *record.mutable_stage() = first.stage();
  if (first.has_progress()) {
    *record.mutable_progress() = first.progress();
    v1::Attempt& attempt = *record.mutable_attempt();
    attempt.set_last_step(std::max(attempt.last_step(), first.progress().step()));
  }
  if (first.has_evaluation()) *record.mutable_evaluation() = first.evaluation();
  if (first.has_ledger()) *record.mutable_ledger() = first.ledger();
  return record;
}

v1::Worker::State Scheduler::state_now(const v1::Worker& worker) const {
  const auto it = fleet_.workers.find(worker.worker_id());
  if (it == fleet_.workers.end()) return worker.state();
  if (it->second.unreachable) return v1::Worker::UNREACHABLE;
  if (it->second.leaving) return v1::Worker::DRAINING;
  const bool empty =
      it->second.synced && it->second.foreign_ranks == 0 && state_.leased_slots(worker.worker_id()).empty();
  return worker.state() == v1::Worker::DRAINING && empty ? v1::Worker::DRAINED : worker.state();
}

// Which ranks a worker that is drained gives up, and which it waits for.
std::string Scheduler::drain_text(const std::map<uint32_t, SlotUse>& leased, const Sees& sees) const {
  size_t stopping = 0;
  std::set<std::string> waited_for;
  std::set<std::string> named;
  for (const auto& [slot, use] : leased) {
    const v1::JobState& job = *state_.job(use.job_id);
    if (live_attempt(job)->has_stop()) {
      ++stopping;
    } else {
      waited_for.insert(use.job_id);
      if (!sees || sees(job.record())) named.insert(use.job_id);
    }
  }
  std::vector<std::string> parts;
  if (stopping > 0) parts.push_back(absl::StrCat("hands back ", count_text(stopping, "rank")));
  if (!waited_for.empty()) {
    const std::string names =
        named.empty() ? "" : absl::StrCat(" (", *named.begin(), waited_for.size() > 1 ? ", …" : "", ")");
    parts.push_back(
        absl::StrCat("waits for ", count_text(waited_for.size(), "job"), " that may not be preempted", names));
  }
  return absl::StrJoin(parts, ", ");
}

v1::Worker Scheduler::describe(const v1::Worker& worker, const Sees& sees) const {
  v1::Worker seen = worker;
  seen.set_state(state_now(worker));
  seen.set_etag(absl::StrCat(worker.revision()));
  const std::map<uint32_t, SlotUse>& leased = state_.leased_slots(worker.worker_id());
  seen.set_slots_used(static_cast<uint32_t>(leased.size()));
  std::set<std::string> attempts;
  for (const auto& [slot, use] : leased) {
    if (!sees || sees(state_.job(use.job_id)->record()))
      attempts.insert(absl::StrCat("jobs/", use.job_id, "/attempts/", use.attempt));
  }
  for (const std::string& name : attempts) seen.add_attempts(name);
  const auto it = fleet_.workers.find(worker.worker_id());
  if (it == fleet_.workers.end()) return seen;
  const WorkerLive& live = it->second;
  seen.set_last_seen_time_ms(live.last_seen_wall_ms);
  seen.clear_devices();
  for (const v1::DeviceInfo& device : live.devices) *seen.add_devices() = device;
  if (live.unreachable) {
    seen.set_message("has missed its last calls; its ranks count as lost when its lease ends");
  } else if (live.leaving) {
    seen.set_message("shuts down");
  } else if (!live.synced) {
    seen.set_message("has not said yet what it holds");
  } else if (live.foreign_ranks > 0) {
    seen.set_message(absl::StrCat("still ends ", live.foreign_ranks, " processes of attempts that are over"));
  } else if (worker.state() == v1::Worker::DRAINING || worker.state() == v1::Worker::CORDONED) {
    const bool draining = worker.state() == v1::Worker::DRAINING;
    seen.set_message(absl::StrCat(!draining && worker.ordered_by_scheduler() ? "takes no new work until a probe passes"
                                  : !draining                                ? "takes no new work"
                                  : leased.empty()                           ? "drained"
                                                                             : drain_text(leased, sees),
                                  worker.order_reason().empty() ? "" : ": ", worker.order_reason()));
  }
  return seen;
}

}  // namespace galleon::server

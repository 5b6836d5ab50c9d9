#include "server/core/scheduler.h"

#include <algorithm>
#include <climits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/core/dependency.h"
#include "server/core/refusal.h"
#include "server/core/transitions.h"

namespace galleon::server {

std::string job_id_of(absl::string_view name) {
  return std::string(absl::StartsWith(name, "jobs/") ? name.substr(5) : name);
}

std::string worker_id_of(absl::string_view name) {
  return std::string(absl::StartsWith(name, "workers/") ? name.substr(8) : name);
}

int64_t time_limit_ms(const v1::Job& job) {
  if (!job.scheduling().has_time_limit()) return kNever;
  return static_cast<int64_t>(std::min<uint64_t>(job.scheduling().time_limit(), 1ULL << 40)) * 1000;
}

std::string queue_of(const v1::Job& job) {
  return job.scheduling().queue().empty() ? "default" : job.scheduling().queue();
}

std::string Scheduler::job_id(const v1::Job& job, uint64_t number) {
  return absl::StrCat(job.name(), "-", number);
}

void Scheduler::emit(Now now, v1::JournalEvent event) {
  event.set_time_ms(now.wall_ms);
  event.set_actor(actor_);
  state_.apply(event);
  switch (event.event_case()) {
    case v1::JournalEvent::kJobMoved:
    case v1::JournalEvent::kStopOrdered:
    case v1::JournalEvent::kAttemptClosed:
    case v1::JournalEvent::kCheckpointRecorded:
    case v1::JournalEvent::kJobWaitsLong:
    case v1::JournalEvent::kReceiverTold:
    case v1::JournalEvent::kProjectsRecorded:
    case v1::JournalEvent::kFolderRemoved:
    case v1::JournalEvent::kGroupCreated:
      break;
    case v1::JournalEvent::kJobForgotten:
    case v1::JournalEvent::kJobDeleted:
      // Their folders count no more.
      dirty_ |= !options_.projects.empty();
      break;
    case v1::JournalEvent::kJobHeld:
      forget_waiting(event.job_held().job_id());
      break;
    case v1::JournalEvent::kJobReleased:
      forget_waiting(event.job_released().job_id());
      break;
    case v1::JournalEvent::kJobResumed:
      forget_waiting(event.job_resumed().job_id());
      break;
    case v1::JournalEvent::kJobRequeued:
      forget_waiting(event.job_requeued().job_id());
      break;
    case v1::JournalEvent::kJobReprioritized:
      forget_waiting(event.job_reprioritized().job_id());
      break;
    case v1::JournalEvent::kSlotsHeld:
      forget_waiting(event.slots_held().job_id());
      break;
    case v1::JournalEvent::kWorkerRegistered:
    case v1::JournalEvent::kWorkerForgotten:
      whole_fleet_.reset();
      board_.reset();
      dirty_ = true;
      break;
    default:
      dirty_ = true;
  }
  events_.push_back(std::move(event));
}

void Scheduler::forget_waiting(const std::string& job_id) {
  if (const auto it = waiting_.find(state_.facts(job_id)->number); it != waiting_.end()) it->second.known = false;
  dirty_ = true;
}

void Scheduler::recovered(Now now) {
  state_.pack();
  // Assignments are numbered from the clock, so that a revision that a daemon remembers from before is never taken for
  // a new one.
  last_revision_ = static_cast<uint64_t>(std::max<int64_t>(1, now.wall_ms));
  start_ = now;
  journaled_ms_ = state_.newest_time_ms() > 0 ? state_.newest_time_ms() : now.wall_ms;
  for (const auto& [id, worker] : state_.workers()) {
    if (worker.state() == v1::Worker::GONE) continue;
    WorkerLive& known = fleet_.workers[id];
    known.lease_end_ms = now.mono_ms + options_.held_lease_ms();
    known.expected_ms = now.mono_ms + options_.sync_ms;
    known.last_seen_wall_ms = worker.last_seen_time_ms();
    assignments_changed(id, known);
    known.devices.assign(worker.devices().begin(), worker.devices().end());
  }
  for (const uint64_t number : state_.active()) {
    const v1::JobState& job = *state_.job_by_number(number);
    if (const v1::AttemptState* attempt = live_attempt(job); attempt != nullptr) live(now, job, *attempt);
  }
  dirty_ = true;
}

void Scheduler::touch(const v1::AttemptState& attempt) {
  for (const v1::RankState& rank : attempt.ranks()) {
    if (const auto it = fleet_.workers.find(rank.worker_id()); it != fleet_.workers.end())
      assignments_changed(it->first, it->second);
  }
}

void Scheduler::assignments_changed(const std::string& worker_id, WorkerLive& worker) {
  worker.revision = ++last_revision_;
  changed_workers_.push_back(worker_id);
}

AttemptLive& Scheduler::live(Now now, const v1::JobState& job, const v1::AttemptState& attempt) {
  AttemptLive& known = fleet_.attempts[job.record().job_id()];
  if (known.epoch != attempt.attempt().epoch()) {
    known = {};
    known.epoch = attempt.attempt().epoch();
    known.ranks.resize(attempt.ranks_size());
    known.since_ms = now.mono_ms;
    known.ran_before_ms = std::max<int64_t>(0, now.wall_ms - attempt.attempt().start_time_ms());
    known.change_ms = now.mono_ms;
    if (attempt.has_stop()) known.stop_ms = now.mono_ms;
    if (job.record().state() != v1::JobRecord::RESERVED) known.offered_ms = now.mono_ms;
  }
  return known;
}

const AttemptLive* Scheduler::live_or_null(const v1::JobState& job) const {
  const v1::AttemptState* attempt = live_attempt(job);
  const auto it = fleet_.attempts.find(job.record().job_id());
  if (attempt == nullptr || it == fleet_.attempts.end() || it->second.epoch != attempt->attempt().epoch())
    return nullptr;
  return &it->second;
}

absl::StatusOr<const v1::JobState*> Scheduler::find_request(const v1::Job& job, absl::string_view request_id) const {
  if (request_id.empty()) return nullptr;
  if (const v1::GroupState* group = state_.group_by_request(request_id); group != nullptr) {
    return refusal(v1::ErrorInfo::REQUEST_ID_REUSED, absl::StrCat("request_id \"", request_id, "\" was used for ",
                                                                  group->group().name(), "; use a new request_id"));
  }
  const v1::JobState* known = state_.job_by_request(request_id);
  if (known == nullptr) return nullptr;
  if (google::protobuf::util::MessageDifferencer::Equals(known->record().job(), job)) return known;
  return refusal(v1::ErrorInfo::REQUEST_ID_REUSED,
                 absl::StrCat("request_id \"", request_id, "\" was used for ", known->record().name(),
                              ", which differs from this job; use a new request_id"));
}

const QueueConfig* Scheduler::queue_config(absl::string_view id) const {
  const auto it = std::find_if(options_.queues.begin(), options_.queues.end(),
                               [id](const QueueConfig& queue) { return queue.id == id; });
  return it == options_.queues.end() ? nullptr : &*it;
}

absl::Status Scheduler::unknown_queue(absl::string_view field, absl::string_view id) const {
  return absl::InvalidArgumentError(absl::StrCat(
      field, ": there is no queue \"", id, "\"; there ", options_.queues.size() == 1 ? "is " : "are ",
      absl::StrJoin(options_.queues, ", ",
                    [](std::string* out, const QueueConfig& queue) { absl::StrAppend(out, "\"", queue.id, "\""); })));
}

absl::Status Scheduler::check_queue(absl::string_view id) const {
  if (queue_config(id) != nullptr) return absl::OkStatus();
  const auto known = state_.counts().lower_bound({std::string(id), INT_MIN});
  return known != state_.counts().end() && known->first.first == id ? absl::OkStatus() : unknown_queue("queue", id);
}

absl::Status Scheduler::check_scheduling(const v1::Job& job) const {
  const std::string queue = queue_of(job);
  if (queue_config(queue) == nullptr) return unknown_queue("scheduling.queue", queue);
  for (const std::string& entry : job.scheduling().after()) {
    if (!state_.job_state(dependency_of(entry).job_id).has_value()) return no_job_to_follow(job, entry);
  }
  return absl::OkStatus();
}

absl::Status Scheduler::no_job_to_follow(const v1::Job& job, const std::string& entry) {
  return absl::InvalidArgumentError(absl::StrCat("scheduling.after: there is no job \"", entry,
                                                 "\"; give a job's id such as ", job.name(), "-1, or any:", job.name(),
                                                 "-1 or failed:", job.name(), "-1"));
}

absl::StatusOr<std::string> Scheduler::submit(Now now, const Submission& submission) {
  ASSIGN_OR_RETURN(const v1::JobState* known, find_request(submission.job, submission.request_id));
  if (known != nullptr) return known->record().job_id();
  RETURN_IF_ERROR(check_scheduling(submission.job));
  RETURN_IF_ERROR(check_fits(submission.job, submission.plan, submission.allow_pending));
  RETURN_IF_ERROR(check_quota(queue_of(submission.job), submission.owner));
  return create(now, submission);
}

std::string Scheduler::create(Now now, const Submission& submission) {
  const Acting acting(*this, submission.owner);
  GALLEON_CHECK(submission.number >= next_number()) << "job numbers grow";
  v1::JournalEvent event;
  v1::JobCreated& created = *event.mutable_job_created();
  created.set_number(submission.number);
  created.set_job_id(job_id(submission.job, submission.number));
  *created.mutable_job() = submission.job;
  *created.mutable_plan() = submission.plan;
  created.set_request_id(submission.request_id);
  created.set_owner(submission.owner);
  created.set_project(queue_config(queue_of(submission.job))->project);
  created.set_folder(absl::StrCat(submission.jobs_folder, "/", created.job_id()));
  created.set_readable_folder(submission.readable_folder);
  created.set_group(submission.group);
  *created.mutable_settings() = {submission.settings.begin(), submission.settings.end()};
  std::string id = created.job_id();
  emit(now, std::move(event));
  return id;
}

absl::StatusOr<const v1::JobState*> Scheduler::known_job(absl::string_view job_id, absl::string_view etag) const {
  const v1::JobState* job = state_.job(job_id);
  if (job == nullptr) return refusal(v1::ErrorInfo::JOB_NOT_FOUND, absl::StrCat("there is no job jobs/", job_id));
  const std::string revision = absl::StrCat(job->revision());
  if (!etag.empty() && etag != revision) {
    return refusal(v1::ErrorInfo::ETAG_MISMATCH,
                   absl::StrCat("jobs/", job_id, " has changed since: its etag is ", revision, ", not ", etag));
  }
  return job;
}

absl::StatusOr<const v1::JobState*> Scheduler::changeable(absl::string_view job_id, absl::string_view etag) const {
  ASSIGN_OR_RETURN(const v1::JobState* job, known_job(job_id, etag));
  const v1::JobRecord::State state = job->record().state();
  if (is_terminal(state)) {
    return refusal(v1::ErrorInfo::JOB_HAS_ENDED,
                   absl::StrCat("jobs/", job_id, " has already ended: ", v1::JobRecord::State_Name(state)));
  }
  return job;
}

absl::Status Scheduler::cancel(Now now, absl::string_view job_id, absl::string_view etag, absl::string_view reason,
                               absl::string_view actor) {
  ASSIGN_OR_RETURN(const v1::JobState* found, changeable(job_id, etag));
  const v1::JobState* job = found;
  const Acting acting(*this, actor);
  const v1::JobRecord::State state = job->record().state();
  if (state == v1::JobRecord::CANCELLING) return absl::OkStatus();
  const std::string why = reason.empty() ? "cancelled by the user" : absl::StrCat("cancelled: ", reason);
  if (state == v1::JobRecord::QUEUED) {
    end_job(now, *job, v1::JobRecord::CANCELLED, why);
    return absl::OkStatus();
  }
  move(now, *job, v1::JobRecord::CANCELLING);
  order_stop(now, *job, v1::StopOrder::CANCEL, why, options_.stop_grace_ms);
  return absl::OkStatus();
}

void Scheduler::hand_back(Now now, const v1::JobState& job, v1::StopOrder::Cause cause, const std::string& reason,
                          const std::string& for_job_id) {
  const v1::AttemptState* attempt = live_attempt(job);
  if (attempt == nullptr || attempt->closed() || attempt->has_stop()) return;
  move(now, job, v1::JobRecord::PREEMPTING);
  order_stop(now, job, cause, reason, options_.stop_grace_ms, for_job_id);
}

void Scheduler::order_stop(Now now, const v1::JobState& job, v1::StopOrder::Cause cause, const std::string& reason,
                           int64_t grace_ms, const std::string& for_job_id) {
  const v1::AttemptState* attempt = live_attempt(job);
  GALLEON_CHECK(attempt != nullptr) << job.record().job_id();
  v1::JournalEvent event;
  v1::StopOrdered& ordered = *event.mutable_stop_ordered();
  ordered.mutable_id()->set_job_id(job.record().job_id());
  ordered.mutable_id()->set_attempt(attempt->attempt().number());
  ordered.mutable_id()->set_epoch(attempt->attempt().epoch());
  v1::StopOrder& stop = *ordered.mutable_stop();
  stop.set_cause(cause);
  stop.set_reason(reason);
  stop.set_time_ms(now.wall_ms);
  stop.set_grace_milliseconds(static_cast<uint64_t>(grace_ms));
  stop.set_for_job_id(for_job_id);
  AttemptLive& known = live(now, job, *attempt);
  // An earlier order's grace goes on: a second reason buys no time.
  if (known.stop_ms < 0) known.stop_ms = now.mono_ms;
  emit(now, std::move(event));
  touch(*attempt);
  settle(now, job);
}

void Scheduler::move(Now now, const v1::JobState& job, v1::JobRecord::State to) {
  v1::JournalEvent event;
  event.mutable_job_moved()->set_job_id(job.record().job_id());
  event.mutable_job_moved()->set_state(to);
  emit(now, std::move(event));
}

void Scheduler::end_job(Now now, const v1::JobState& job, v1::JobRecord::State to, const std::string& message) {
  v1::JournalEvent event;
  event.mutable_job_ended()->set_job_id(job.record().job_id());
  event.mutable_job_ended()->set_state(to);
  event.mutable_job_ended()->set_message(message);
  waiting_.erase(job.number());
  emit(now, std::move(event));
}

}  // namespace galleon::server

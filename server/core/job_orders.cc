// What people order of a job after its submission: hold and release it, have it queue again, go on, or be gone; and how
// long it waits at most.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/duration_text.h"
#include "common/base/status_macros.h"
#include "server/core/dependency.h"
#include "server/core/job_paths.h"
#include "server/core/refusal.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr int64_t kTimeoutsPauseMs = 1'000;  // between two looks at who has waited for too long
constexpr size_t kMostTimeouts = 200;        // ended in one look, so that no round is long

std::string state_text(const v1::JobState& job) {
  return absl::StrCat(job.record().name(), " is ", v1::JobRecord::State_Name(job.record().state()));
}

}  // namespace

absl::Status Scheduler::hold(Now now, const v1::HoldJobRequest& request, absl::string_view actor) {
  ASSIGN_OR_RETURN(const v1::JobState* found, changeable(job_id_of(request.name()), request.etag()));
  const v1::JobState& job = *found;
  const v1::JobRecord::State state = job.record().state();
  if (state == v1::JobRecord::CANCELLING)
    return refusal(v1::ErrorInfo::JOB_HOLDS_SLOTS, absl::StrCat(state_text(job), "; it ends, and never starts again"));
  const bool runs = state != v1::JobRecord::QUEUED && state != v1::JobRecord::PREEMPTING;
  if (runs && !request.preempt()) {
    return refusal(v1::ErrorInfo::JOB_HOLDS_SLOTS,
                   absl::StrCat(state_text(job), "; with --preempt it writes a checkpoint, and waits held"));
  }
  const Acting acting(*this, actor);
  if (!job.record().held() || (!request.reason().empty() && job.record().hold_reason() != request.reason())) {
    v1::JournalEvent event;
    event.mutable_job_held()->set_job_id(job.record().job_id());
    event.mutable_job_held()->set_reason(request.reason());
    emit(now, std::move(event));
  }
  if (runs) {
    hand_back(now, job, v1::StopOrder::HELD,
              absl::StrCat("is held", request.reason().empty() ? "" : ": ", request.reason()));
  }
  return absl::OkStatus();
}

absl::Status Scheduler::release(Now now, const v1::ReleaseJobRequest& request, absl::string_view actor) {
  ASSIGN_OR_RETURN(const v1::JobState* job, changeable(job_id_of(request.name()), request.etag()));
  if (!job->record().held()) return absl::OkStatus();
  const Acting acting(*this, actor);
  v1::JournalEvent event;
  event.mutable_job_released()->set_job_id(job->record().job_id());
  emit(now, std::move(event));
  return absl::OkStatus();
}

absl::Status Scheduler::requeue(Now now, const v1::RequeueJobRequest& request, absl::string_view actor) {
  ASSIGN_OR_RETURN(const v1::JobState* job, changeable(job_id_of(request.name()), request.etag()));
  const v1::AttemptState* attempt = live_attempt(*job);
  if (attempt == nullptr)
    return refusal(v1::ErrorInfo::JOB_HOLDS_NO_SLOTS, absl::StrCat(state_text(*job), "; it waits for slots already"));
  if (attempt->closed() || attempt->has_stop()) {
    return refusal(v1::ErrorInfo::JOB_HOLDS_NO_SLOTS,
                   absl::StrCat(state_text(*job), "; it hands its slots back already"));
  }
  const Acting acting(*this, actor);
  hand_back(now, *job, v1::StopOrder::REQUEUED,
            absl::StrCat("is queued again", request.reason().empty() ? "" : ": ", request.reason()));
  return absl::OkStatus();
}

absl::Status Scheduler::resume(Now now, const v1::ResumeJobRequest& request, absl::string_view actor) {
  ASSIGN_OR_RETURN(const v1::JobState* job, known_job(job_id_of(request.name()), request.etag()));
  const v1::JobRecord::State state = job->record().state();
  if (!is_terminal(state)) {
    return refusal(v1::ErrorInfo::JOB_HAS_NOT_ENDED,
                   absl::StrCat(state_text(*job), "; only a job that FAILED or was CANCELLED goes on by an order"));
  }
  if (state == v1::JobRecord::SUCCEEDED) {
    return refusal(
        v1::ErrorInfo::JOB_HAS_ENDED,
        absl::StrCat(job->record().name(), " has SUCCEEDED, and nothing of it is left to do; galleon resume ",
                     "--set KEY=VALUE makes a new job of its checkpoint"));
  }
  RETURN_IF_ERROR(check_quota(job->record().queue(), job->record().owner()));
  const Acting acting(*this, actor);
  v1::JournalEvent event;
  event.mutable_job_resumed()->set_job_id(job->record().job_id());
  emit(now, std::move(event));
  return absl::OkStatus();
}

std::string Scheduler::needed_by(const v1::JobState& job, const std::string& kept) const {
  const v1::JobRecord& record = job.record();
  for (const auto& [key, other] : state_.dependent()) {
    for (const std::string& entry : other->record().job().scheduling().after()) {
      if (dependency_of(entry).job_id == record.job_id())
        return absl::StrCat(other->record().name(), ", which comes after it");
    }
  }
  const auto begins_with = [&](const v1::JobState& other) {
    if (other.readable_folder() != record.folder() || record.folder().empty()) return false;
    const std::string& resume = other.record().job().checkpoint().resume();
    return kept.empty() || !lies_below(resume, absl::StrCat(record.folder(), "/", kept));
  };
  const auto reads = [&](const v1::JobState& other) {
    if (record.folder().empty()) return false;
    const std::vector<std::string> paths = read_paths(other.record().job());
    return std::any_of(paths.begin(), paths.end(), [&](const std::string& path) {
      return lies_below(path, record.folder()) &&
             (kept.empty() || !lies_below(path, absl::StrCat(record.folder(), "/", kept)));
    });
  };
  const auto needs = [&](const v1::JobState& other) -> std::string {
    if (begins_with(other)) return absl::StrCat(other.record().name(), ", which begins with its checkpoint");
    if (reads(other)) return absl::StrCat(other.record().name(), ", which reads from its folder");
    return "";
  };
  for (const auto& [key, other] : state_.queue()) {
    if (std::string who = needs(*other); !who.empty()) return who;
  }
  for (const uint64_t number : state_.active()) {
    if (std::string who = needs(*state_.job_by_number(number)); !who.empty()) return who;
  }
  return "";
}

v1::FolderRemoval removal_of(const v1::JobState& job, const std::string& jobs_folder, bool keep_checkpoints) {
  const v1::JobRecord& record = job.record();
  const bool keeps = keep_checkpoints && record.has_checkpoint();
  const std::string kept = keeps ? checkpoints_of(record.job()) : "";
  const bool ours = record.folder() == absl::StrCat(jobs_folder, "/", record.job_id());
  v1::FolderRemoval removal;
  removal.set_job_id(record.job_id());
  if (!ours || (keeps && kept.empty())) return removal;
  removal.set_folder(record.folder());
  removal.set_kept(kept);
  return removal;
}

absl::StatusOr<v1::DeleteJobResponse> Scheduler::remove(Now now, const v1::DeleteJobRequest& request,
                                                        absl::string_view jobs_folder, absl::string_view actor) {
  ASSIGN_OR_RETURN(const v1::JobState* job, known_job(job_id_of(request.name()), request.etag()));
  const v1::JobRecord& record = job->record();
  if (!is_terminal(record.state())) {
    return refusal(v1::ErrorInfo::JOB_HAS_NOT_ENDED,
                   absl::StrCat(state_text(*job), "; galleon cancel ends it, then it can be deleted"));
  }
  const bool keeps = request.keep_checkpoints() && record.has_checkpoint();
  const std::string kept = keeps ? checkpoints_of(record.job()) : "";
  if (const std::string who = needed_by(*job, kept); !who.empty())
    return refusal(v1::ErrorInfo::JOB_IS_NEEDED, absl::StrCat(record.name(), " is needed by ", who));
  v1::DeleteJobResponse response;
  response.set_job_id(record.job_id());
  v1::JournalEvent event;
  v1::JobDeleted& deleted = *event.mutable_job_deleted();
  deleted.set_job_id(record.job_id());
  *deleted.mutable_removal() = removal_of(*job, std::string(jobs_folder), request.keep_checkpoints());
  if (!deleted.removal().folder().empty()) {
    if (keeps) response.set_left_folder(absl::StrCat(record.folder(), "/", kept));
  } else {
    response.set_left_folder(record.folder());
  }
  const Acting acting(*this, actor);
  emit(now, std::move(event));
  return response;
}

void Scheduler::folder_removed(Now now, const std::string& job_id) {
  if (!state_.removals().contains(job_id)) return;
  v1::JournalEvent event;
  event.mutable_folder_removed()->set_job_id(job_id);
  emit(now, std::move(event));
}

void Scheduler::check_queue_timeouts(Now now) {
  if (now.mono_ms < next_timeouts_ms_) return;
  next_timeouts_ms_ = now.mono_ms + kTimeoutsPauseMs;
  std::vector<const v1::JobState*> late;
  for (const auto& [key, job] : state_.queue()) {
    const v1::JobRecord& record = job->record();
    const v1::Scheduling& scheduling = record.job().scheduling();
    // One that has started once waits as long as it must.
    const bool started = record.attempts() > job->attempts_before();
    if (!scheduling.has_queue_timeout() || record.held() || started) continue;
    const int64_t limit_ms = static_cast<int64_t>(std::min<uint64_t>(scheduling.queue_timeout(), 1ULL << 40)) * 1000;
    if (age_clock_ms(now) - waits_from_ms(*job) >= limit_ms) late.push_back(job);
    if (late.size() >= kMostTimeouts) break;
  }
  for (const v1::JobState* job : late) {
    const auto limit = absl::Seconds(job->record().job().scheduling().queue_timeout());
    const std::string why = describe(*job, now).message();
    end_job(now, *job, v1::JobRecord::FAILED,
            absl::StrCat("did not start within its queue_timeout of ", duration_text(limit), "; ", why));
  }
}

absl::Status Scheduler::forget_worker(Now now, const v1::ForgetWorkerRequest& request, absl::string_view actor) {
  const std::string id = worker_id_of(request.name());
  ASSIGN_OR_RETURN(const v1::Worker* worker, known_worker(id, request.etag()));
  if (worker->state() != v1::Worker::GONE) {
    return refusal(v1::ErrorInfo::WORKER_NOT_GONE,
                   absl::StrCat("workers/", id, " is ", v1::Worker::State_Name(state_now(*worker)),
                                "; stop its daemon, and forget it once it is GONE"));
  }
  const Acting acting(*this, actor);
  v1::JournalEvent event;
  event.mutable_worker_forgotten()->set_worker_id(id);
  emit(now, std::move(event));
  return absl::OkStatus();
}

}  // namespace galleon::server

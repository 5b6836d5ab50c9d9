#include "server/api/visible.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/core/dependency.h"
#include "server/core/refusal.h"

namespace galleon::server {

absl::Status no_job(absl::string_view name) {
  return refusal(v1::ErrorInfo::JOB_NOT_FOUND, absl::StrCat("there is no job jobs/", job_id_of(name)));
}

absl::StatusOr<const v1::JobState*> find_job(const State& state, const Caller& caller, absl::string_view name,
                                             Role needed) {
  const v1::JobState* job = state.job(job_id_of(name));
  if (job == nullptr || !caller.may(Role::kViewer, job->record().project())) return no_job(name);
  RETURN_IF_ERROR(require_role(caller, needed, job->record().project()));
  return job;
}

absl::Status check_subject(const State& state, const Caller& caller, const std::string& subject) {
  if (subject.empty() || absl::StartsWith(subject, "workers/")) {
    RETURN_IF_ERROR(require_role(caller, Role::kViewer, "*"));
    return subject.empty() || state.worker(worker_id_of(subject)) != nullptr
               ? absl::OkStatus()
               : refusal(v1::ErrorInfo::WORKER_NOT_FOUND, absl::StrCat("there is no worker ", subject));
  }
  return absl::StartsWith(subject, "jobs/") ? find_job(state, caller, subject).status() : no_job(subject);
}

absl::Status check_after(const State& state, const Caller& caller, const v1::Job& job) {
  for (const std::string& entry : job.scheduling().after()) {
    if (!find_job(state, caller, dependency_of(entry).job_id).ok()) return Scheduler::no_job_to_follow(job, entry);
  }
  return absl::OkStatus();
}

}  // namespace galleon::server

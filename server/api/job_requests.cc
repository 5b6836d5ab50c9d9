#include "server/api/job_requests.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/object_address.h"
#include "common/base/status_macros.h"
#include "server/api/attachments.h"
#include "server/core/refusal.h"

namespace galleon::server {

namespace {

constexpr size_t kLargestJob = 256 << 10;
constexpr size_t kLongestRequestId = 128;

absl::Status check_job_size(size_t size) {
  if (size <= kLargestJob) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("job: is of ", size, " bytes, at most ", kLargestJob, " are accepted"));
}

absl::Status check_size(const v1::CreateJobRequest& request) {
  RETURN_IF_ERROR(check_job_size(request.ByteSizeLong()));
  if (request.request_id().size() > kLongestRequestId) {
    return absl::InvalidArgumentError(absl::StrCat("request_id: is longer than ", kLongestRequestId, " bytes"));
  }
  return absl::OkStatus();
}

// Without the shape.
absl::Status check_words(const v1::Job& job) {
  const std::string& name = job.name();
  const bool named = !name.empty() && name.size() <= 48 && absl::ascii_isalnum(name.front()) &&
                     std::all_of(name.begin(), name.end(),
                                 [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; });
  if (!named) {
    return absl::InvalidArgumentError(absl::StrCat(
        "job.name: \"", name, "\" is not a name; use 1 to 48 lower-case letters, digits and '-', the first not '-'"));
  }
  if (job.has_sweep())
    return absl::InvalidArgumentError("job.sweep: is filled in by the scheduler; leave it out, or call CreateGroup");
  if (job.parallel().has_ranks() && (job.parallel().ranks() < 1 || job.parallel().ranks() > 1024)) {
    return absl::InvalidArgumentError(
        absl::StrCat("job.parallel.ranks: ", job.parallel().ranks(), " is not between 1 and 1024"));
  }
  return check_attached(job);
}

absl::Status check_request_id(const v1::Job& job, const std::string& request_id) {
  if (job.attached().empty() || !request_id.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("request_id: must be given where files come with the job");
}

}  // namespace

absl::Status check_job(const v1::Job& job) {
  RETURN_IF_ERROR(check_words(job));
  if (job.has_shape()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "job.shape: must be given; ResolveJob gives it, and `galleon submit` asks for it where it is needed");
}

absl::Status check_request(const v1::ResolveJobRequest& request) {
  RETURN_IF_ERROR(check_job_size(request.ByteSizeLong()));
  if (request.job().has_shape()) return absl::InvalidArgumentError("job.shape: is what is asked for; leave it out");
  RETURN_IF_ERROR(check_request_id(request.job(), request.request_id()));
  return check_words(request.job());
}

absl::Status check_request(const v1::CreateJobRequest& request) {
  RETURN_IF_ERROR(check_size(request));
  RETURN_IF_ERROR(check_request_id(request.job(), request.request_id()));
  return check_job(request.job());
}

absl::StatusOr<std::string> check_resume(const Turn& turn, const Unary& call, const v1::Job& job,
                                         const std::string& jobs_folder) {
  const std::string& resume = job.checkpoint().resume();
  if (resume.empty() || resume == "auto" || resume == "never" || is_address(resume)) return "";
  // A relative one is against the job's own folder, wherever that will be.
  const std::string place = (std::filesystem::path(jobs_folder) / "own" / resume).lexically_normal().string();
  const std::string below = absl::StrCat(jobs_folder, "/");
  if (!absl::StartsWith(place, below)) return "";
  const std::string id = place.substr(below.size(), place.find('/', below.size()) - below.size());
  if (id == "own") return "";
  const v1::JobState* other = turn.scheduler.state().job(id);
  const auto may_read = [&call](const v1::JobRecord& of) {
    return (!call.caller().empty() && of.owner() == call.caller()) || call.may(Role::kViewer, of.project());
  };
  if (other == nullptr || !may_read(other->record())) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint.resume: ", resume, " lies in the folder of ", id, ", which is no job of the list"));
  }
  const v1::JobRecord& record = other->record();
  if (!record.has_checkpoint()) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint.resume: ", record.name(), " has published no checkpoint"));
  }
  return record.folder();
}

absl::Status count_refusal(const ServiceContext& context, const std::string& project, absl::Status status) {
  if (const auto quota = quota_details(status); quota.has_value())
    context.metrics->over_quota(project, quota->resource);
  return status;
}

std::string group_id_of(absl::string_view name) {
  return std::string(absl::StartsWith(name, "groups/") ? name.substr(7) : name);
}

absl::Status no_group(absl::string_view name) {
  return refusal(v1::ErrorInfo::GROUP_NOT_FOUND, absl::StrCat("there is no group groups/", group_id_of(name)));
}

absl::Status check_group_seen(const Turn& turn, const Unary& call, const std::string& group_id) {
  const v1::GroupState* group = turn.scheduler.state().group(group_id);
  const bool seen = group != nullptr && call.may(Role::kViewer, group->group().project());
  return seen ? absl::OkStatus() : no_group(group_id);
}

absl::StatusOr<const v1::JobState*> find_request(const Turn& turn, const Unary& call,
                                                 const v1::CreateJobRequest& request) {
  const v1::JobState* job = turn.scheduler.state().job_by_request(request.request_id());
  const bool moved = job != nullptr && !request.job().attached().empty();
  absl::StatusOr<const v1::JobState*> known = turn.scheduler.find_request(
      moved ? with_attached_below(request.job(), attached_folder_of(job->record().folder())) : request.job(),
      request.request_id());
  if (request.request_id().empty() || job == nullptr) return known;
  if (!call.may(Role::kViewer, job->record().project())) {
    return refusal(v1::ErrorInfo::REQUEST_ID_REUSED,
                   absl::StrCat("request_id \"", request.request_id(), "\" was used before; use a new request_id"));
  }
  if (known.ok()) RETURN_IF_ERROR(require_role(call.identity(), Role::kSubmitter, job->record().project()));
  return known;
}

}  // namespace galleon::server

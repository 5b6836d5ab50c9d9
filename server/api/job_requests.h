// Of the calls about jobs: what may be submitted, and which jobs a list has.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "galleon/v1/jobs.pb.h"
#include "server/api/loop.h"
#include "server/api/services.h"
#include "server/api/unary.h"

namespace galleon::server {

// INVALID_ARGUMENT: too large, or it has a shape already.
absl::Status check_request(const v1::ResolveJobRequest& request);
// INVALID_ARGUMENT: too large, or not whole.
absl::Status check_request(const v1::CreateJobRequest& request);
// The same of what the job itself has to be; messages begin with "job.".
absl::Status check_job(const v1::Job& job);
// The folder of the other job with whose checkpoint this one begins; empty: it begins with none that lies below
// `jobs_folder`. PERMISSION_DENIED: the caller may not see that job; INVALID_ARGUMENT: there is none, or it has no
// checkpoint.
absl::StatusOr<std::string> check_resume(const Turn& turn, const Unary& call, const v1::Job& job,
                                         const std::string& jobs_folder);
// Counts it where it is a quota's.
absl::Status count_refusal(const ServiceContext& context, const std::string& project, absl::Status status);
// "groups/x" or "x" as "x".
std::string group_id_of(absl::string_view name);
absl::Status no_group(absl::string_view name);
// NOT_FOUND: there is no such group, or the caller may not see it, which says the same.
absl::Status check_group_seen(const Turn& turn, const Unary& call, const std::string& group_id);

// The job that the request's id belongs to; null: it is new. ALREADY_EXISTS: it was used for another job, of which no
// more is told than the caller may see.
absl::StatusOr<const v1::JobState*> find_request(const Turn& turn, const Unary& call,
                                                 const v1::CreateJobRequest& request);

}  // namespace galleon::server

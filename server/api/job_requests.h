// Of the calls about jobs: what may be submitted, and which jobs a list has.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "galleon/v1/jobs.pb.h"
#include "server/api/loop.h"
#include "server/api/unary.h"

namespace galleon::server {

// INVALID_ARGUMENT: too large, or not whole.
absl::Status check_request(const v1::CreateJobRequest& request);
// The folder of the other job with whose checkpoint this one begins; empty: it begins with none that lies below
// `jobs_folder`. PERMISSION_DENIED: the caller may not see that job; INVALID_ARGUMENT: there is none, or it has no
// checkpoint.
absl::StatusOr<std::string> check_resume(const Turn& turn, const Unary& call, const v1::Job& job,
                                         const std::string& jobs_folder);
// Newest first; the token is the number of the last job of the page before.
absl::Status list_jobs(Turn& turn, const Unary& call, const v1::ListJobsRequest& request,
                       v1::ListJobsResponse& response);

// The job that the request's id belongs to; null: it is new. ALREADY_EXISTS: it was used for another job, of which no
// more is told than the caller may see.
absl::StatusOr<const v1::JobState*> find_request(const Turn& turn, const Unary& call,
                                                 const v1::CreateJobRequest& request);

}  // namespace galleon::server

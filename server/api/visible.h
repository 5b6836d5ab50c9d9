// What a caller may not see does not exist for it: no answer tells a job of a foreign project from one that is not
// there.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/job.pb.h"
#include "server/api/access.h"
#include "server/core/scheduler.h"

namespace galleon::server {

// NOT_FOUND, as for every name of which there is no job.
absl::Status no_job(absl::string_view name);

// A job by its name, for a caller who needs this role in its project. NOT_FOUND: there is none that it may see;
// PERMISSION_DENIED: it may see it, and no more.
absl::StatusOr<const v1::JobState*> find_job(const State& state, const Caller& caller, absl::string_view name,
                                             Role needed = Role::kViewer);

// Events of one job are for those who may see it; those of workers, and all together, for those who may see all.
absl::Status check_subject(const State& state, const Caller& caller, const std::string& subject);

// INVALID_ARGUMENT, as for jobs that are not there: `after` names some that it may not see.
absl::Status check_after(const State& state, const Caller& caller, const v1::Job& job);

}  // namespace galleon::server

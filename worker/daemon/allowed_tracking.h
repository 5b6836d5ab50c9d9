// Which tracking servers a worker's operator lets jobs tell of their runs.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "galleon/v1/job.pb.h"

namespace galleon {

// The addresses of --allow-tracking in their one spelling. INVALID_ARGUMENT names what is none.
absl::StatusOr<std::vector<std::string>> resolve_trackers(const std::vector<std::string>& addresses);

// PERMISSION_DENIED: the job's tracking.mlflow is neither one of them nor below one. INVALID_ARGUMENT: it is no such
// address.
absl::Status check_tracking(const v1::Job& job, const std::vector<std::string>& trackers);

}  // namespace galleon

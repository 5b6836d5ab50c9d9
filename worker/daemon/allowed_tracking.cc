#include "worker/daemon/allowed_tracking.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/tracking_address.h"

namespace galleon {

absl::StatusOr<std::vector<std::string>> resolve_trackers(const std::vector<std::string>& addresses) {
  std::vector<std::string> resolved;
  for (const std::string& address : addresses) {
    const absl::StatusOr<std::string> spelt = tracking_address(address);
    if (!spelt.ok()) return absl::InvalidArgumentError(absl::StrCat("--allow-tracking: ", spelt.status().message()));
    resolved.push_back(*spelt);
  }
  return resolved;
}

absl::Status check_tracking(const v1::Job& job, const std::vector<std::string>& trackers) {
  if (!job.has_tracking()) return absl::OkStatus();
  const absl::StatusOr<std::string> address = tracking_address(job.tracking().mlflow());
  if (!address.ok()) return absl::InvalidArgumentError(absl::StrCat("tracking.mlflow: ", address.status().message()));
  if (lies_below_tracking_address(*address, trackers)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("tracking.mlflow: ", *address, " is not what this worker lets jobs call",
                   trackers.empty() ? "" : absl::StrCat(" (", absl::StrJoin(trackers, ", "), ")"),
                   "; start the worker with --allow-tracking"));
}

}  // namespace galleon

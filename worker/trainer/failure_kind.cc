#include "worker/trainer/failure_kind.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"

namespace galleon {

bool is_permanent(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

v1::PlaceFault place_fault_of(const absl::Status& status) {
  if (absl::IsPermissionDenied(status)) return v1::PLACE_FAULT_DOUBTFUL;
  const bool full = absl::StrContains(status.message(), std::strerror(ENOSPC)) ||
                    absl::StrContains(status.message(), std::strerror(EDQUOT));
  if (full) return v1::PLACE_FAULT_CERTAIN;
  return absl::IsUnavailable(status) ? v1::PLACE_FAULT_OUTSIDE : v1::PLACE_FAULT_UNSPECIFIED;
}

}  // namespace galleon

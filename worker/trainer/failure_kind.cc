#include "worker/trainer/failure_kind.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "worker/engine/ranks/socket_communicator.h"

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
  if (absl::IsPermissionDenied(status) || did_not_meet(status)) return v1::PLACE_FAULT_DOUBTFUL;
  const bool full = absl::StrContains(status.message(), std::strerror(ENOSPC)) ||
                    absl::StrContains(status.message(), std::strerror(EDQUOT));
  return full ? v1::PLACE_FAULT_CERTAIN : v1::PLACE_FAULT_UNSPECIFIED;
}

}  // namespace galleon

// The address of this machine that another one sees.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace galleon {

// The address that the kernel would send from to "HOST:PORT", without sending anything; 127.0.0.1 or ::1 for this very
// machine's loopback. UNAVAILABLE: the name cannot be resolved, or there is no way to it.
absl::StatusOr<std::string> own_address_towards(const std::string& server);

}  // namespace galleon

// Addresses of servers that are told of runs: http(s)://HOST[:PORT][/PATH].
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

// The address in its one spelling: small letters before the path, no default port, no slash at the end.
// INVALID_ARGUMENT: another scheme, credentials, a query or a fragment, neither of which is repeated in the message, a
// path with escapes or with the names "", "." or "..", of which two readers may make two things.
absl::StatusOr<std::string> tracking_address(absl::string_view text);

// Whether an address is one of `roots`, or lies below one, name by name. All in their one spelling.
bool lies_below_tracking_address(absl::string_view address, const std::vector<std::string>& roots);

}  // namespace galleon

// What stands in the first line of a request.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon::server {

// %XX resolved; of a query '+' is a blank. INVALID_ARGUMENT: half an escape, a NUL, or no UTF-8.
absl::StatusOr<std::string> url_decoded(absl::string_view text, bool is_query);

struct Target {
  std::string path;                                        // still encoded
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in order
};

// INVALID_ARGUMENT: no path, or something that cannot be decoded.
absl::StatusOr<Target> parse_target(absl::string_view target);

}  // namespace galleon::server

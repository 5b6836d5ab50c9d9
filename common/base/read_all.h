// All of an open file.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace galleon {

// From where it stands to its end. `path` names it in errors.
absl::StatusOr<std::string> read_all(int fd, const std::string& path);

}  // namespace galleon

// Files with something in them that nobody else may read.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace galleon {

// PERMISSION_DENIED: others than its owner may read it. NOT_FOUND and the like. What is in it is in no message.
absl::StatusOr<std::string> read_secret(const std::string& path);

}  // namespace galleon

// Lines at the end of a file that others read meanwhile.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace galleon {

// Makes the file where there is none. Not durable. Errors name the path.
absl::Status append_file(const std::string& path, absl::string_view data);

}  // namespace galleon

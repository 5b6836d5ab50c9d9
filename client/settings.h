// KEY=VALUE of the job file on the command line.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace YAML {
class Node;
}  // namespace YAML

namespace galleon {

struct Setting {
  std::string key;    // "optimizer.learning_rate"
  std::string value;  // YAML
};

// INVALID_ARGUMENT names the option.
absl::StatusOr<Setting> parse_setting(const std::string& option, const std::string& text);
// Puts it into a job file, with the sections on the way there. INVALID_ARGUMENT: the value is no YAML.
absl::Status set_key(YAML::Node root, const std::string& option, const Setting& setting);
// Errors of a job file with settings, whose lines nobody sees: the option stands in their place.
absl::Status without_lines(const absl::Status& status, const std::string& option);

}  // namespace galleon

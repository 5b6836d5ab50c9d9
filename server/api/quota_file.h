// The part of the queue file that says what projects and their users may have:
//
//   projects:
//     lab: {limit_queued: 1000, limit_folders: 2TiB, users: {limit_queued: 100, limit_submits_per_minute: 30}}
//     "*": {limit_logs: 20GiB}      # each project that is not named
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/core/quota.h"
#include "yaml-cpp/yaml.h"

namespace galleon::server {

// INVALID_ARGUMENT: "FILE:LINE: what is wrong".
absl::StatusOr<std::vector<ProjectQuota>> read_projects(absl::string_view file, const YAML::Node& projects);

absl::Status wrong_in_file(absl::string_view file, const YAML::Node& at, absl::string_view what);
// 1 to 48 lower-case letters, digits and '-'.
bool is_queue_name(const std::string& text);

}  // namespace galleon::server

// The queues that a scheduler is started with, from a YAML file:
//
//   queues:
//     research: {weight: 2, guaranteed_slots: 4, limit_slots: 16, project: lab}
//     default: {}
//     nightly: {retention: {age: 7d, jobs: 500, folders: checkpoints}}
//   retention: {age: 30d}      # of every queue that does not say otherwise
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/core/queues.h"

namespace galleon::server {

// INVALID_ARGUMENT names the key, the line and what would be accepted.
absl::StatusOr<std::vector<QueueConfig>> parse_queues(const std::string& yaml, absl::string_view file);
absl::StatusOr<std::vector<QueueConfig>> load_queues(const std::string& path);

}  // namespace galleon::server

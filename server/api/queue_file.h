// The queues that a scheduler is started with, from a YAML file:
//
//   queues:
//     research: {weight: 2, guaranteed_slots: 4, limit_slots: 16, project: lab}
//     shared: {fair_share: true, half_life: 12h, users: {limit_slots: 8, limit_queued: 100}, user_weights: {ann: 2}}
//     default: {}
//
// and of the projects' quotas (quota_file.h).
//     nightly: {retention: {age: 7d, jobs: 500, folders: checkpoints}}
//   retention: {age: 30d}      # of every queue that does not say otherwise
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/core/queues.h"
#include "server/core/quota.h"

namespace galleon::server {

struct QueueFile {
  std::vector<QueueConfig> queues;
  std::vector<ProjectQuota> projects;
};

// INVALID_ARGUMENT names the key, the line and what would be accepted.
absl::StatusOr<QueueFile> parse_queues(const std::string& yaml, absl::string_view file);
absl::StatusOr<QueueFile> load_queues(const std::string& path);

}  // namespace galleon::server

// What projects and their users may have at most: jobs that wait, submits a minute, bytes of logs and of jobs' folders.
// A smaller quota takes nothing away of what is there; it refuses what would come to it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/journal.pb.h"
#include "server/core/usage.h"
#include "server/core/wait.h"

namespace galleon::server {

// 0: no limit.
struct QuotaLimits {
  uint64_t queued = 0;
  uint64_t submits_per_minute = 0;
  uint64_t log_bytes = 0;
  uint64_t folder_bytes = 0;
  bool operator==(const QuotaLimits&) const = default;
};

struct ProjectQuota {
  std::string project;  // "*": each that is not named
  QuotaLimits all = {};
  QuotaLimits each_user = {};
  bool operator==(const ProjectQuota&) const = default;
};

// What holds for a project; without limits where nothing is said of it.
ProjectQuota quota_of(const std::vector<ProjectQuota>& projects, const std::string& project);

// "project:lab", "project:lab/user:ann", "queue:research/user:ann".
std::string quota_subject(absl::string_view kind, absl::string_view name);
std::string quota_subject(absl::string_view kind, absl::string_view name, absl::string_view user);
// "user ann of project lab".
std::string quota_words(const std::string& project);
std::string quota_words(const std::string& project, const std::string& user);

// What keeps too much in jobs' folders, in words with what frees some; empty: nothing does.
std::string too_much_in_folders(const std::vector<ProjectQuota>& projects, const Usage& usage,
                                const std::string& project, const std::string& user);

// The same for many jobs, each project and user looked up once.
class FolderQuotas {
 public:
  FolderQuotas(const std::vector<ProjectQuota>& projects, const Usage& usage) : projects_(projects), usage_(usage) {}
  // True: the job waits, and `wait` says for what.
  bool keep_waiting(const v1::JobRecord& record, Wait& wait);

 private:
  const std::vector<ProjectQuota>& projects_;
  const Usage& usage_;
  std::map<std::pair<absl::string_view, absl::string_view>, std::string> known_;
};

}  // namespace galleon::server

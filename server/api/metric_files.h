// Reads jobs' metrics.jsonl, which may lie on a network file system: on a thread of its own, and what was read before
// is not read again.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "galleon/v1/jobs.pb.h"
#include "server/api/job_folders.h"

namespace galleon::server {

class MetricFiles {
 public:
  using Done = std::function<void(absl::StatusOr<v1::ReadMetricsResponse>)>;

  // `root`: jobs' folders lie below it.
  explicit MetricFiles(std::string root);
  // `folder`: of the job. A file that is not there has no series. Calls `done` on this object's thread, or at once:
  // UNAVAILABLE, so many wait already that the file system does not seem to answer. RESOURCE_EXHAUSTED: the file is too
  // large. FAILED_PRECONDITION: it is no plain file.
  void read(const std::string& folder, const v1::ReadMetricsRequest& request, Done done);

 private:
  class Cache;
  // Outlives this object where the file system does not answer.
  const std::shared_ptr<Cache> cache_;
  const std::shared_ptr<std::atomic<int>> waiting_;
  JobFolders thread_;
};

}  // namespace galleon::server

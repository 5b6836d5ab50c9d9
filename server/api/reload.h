// Reads the scheduler's files again while it runs, at SIGHUP or when an operator asks: all of them are taken, or none.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "galleon/v1/admin.pb.h"
#include "server/api/access.h"
#include "server/api/loop.h"
#include "server/api/metrics.h"
#include "server/api/queue_file.h"
#include "server/api/rate_limit.h"
#include "server/api/task_thread.h"
#include "server/notify/notifier.h"

namespace galleon::server {

// What `now` says that `before` did not.
v1::ConfigChanges changes(const std::vector<QueueConfig>& before, const std::vector<QueueConfig>& now);
v1::ConfigChanges changes(const std::vector<ProjectQuota>& before, const std::vector<ProjectQuota>& now);
v1::ConfigChanges changes(const Access& before, const Access& now);
v1::ConfigChanges changes(const NotifyConfig& before, const NotifyConfig& now);
// In one line: "queues: added lab; principals: removed bob, changed ann: roles".
std::string summary(const v1::ReloadResponse& response);
// The log's line about it.
void tell_reload(const absl::StatusOr<v1::ReloadResponse>& response);

// What was read and is not in force yet.
struct ReadFiles {
  std::optional<QueueFile> queues;
  std::optional<Access> access;
  std::optional<NotifyConfig> notify;
  std::vector<std::string> names;
};

class Reload {
 public:
  struct Options {
    std::string queues;  // files; empty: there is none, and nothing of it changes
    std::string access;
    std::string notify;
    // Reads the certificates too, if there are some: why they cannot be used.
    std::function<absl::Status()> certificates;
    Loop* loop = nullptr;
    AccessInForce* in_force = nullptr;
    RateLimit* rates = nullptr;
    Notifier* notifier = nullptr;
    Metrics* metrics = nullptr;
  };
  using Done = std::function<void(const absl::StatusOr<v1::ReloadResponse>&)>;

  explicit Reload(Options options) : options_(std::move(options)) {}
  // `done` is called once, on another thread, when what was read is in force, or when it is not: INVALID_ARGUMENT,
  // NOT_FOUND and the like name the file and what is wrong; FAILED_PRECONDITION: there is no file to read.
  void start(bool validate_only, Done done);

 private:
  void read(bool validate_only, const Done& done);
  // In the loop's round.
  absl::StatusOr<v1::ReloadResponse> take(Turn& turn, bool validate_only, const ReadFiles& files);

  const Options options_;
  std::atomic<int> waiting_{0};
  TaskThread thread_;  // files may be slow
};

}  // namespace galleon::server

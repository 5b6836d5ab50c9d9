// The scheduler's Prometheus series. Labels are queue, state, project, outcome, reason, method and code, and for slots
// that are waited for the device and a bounded number of label sets. A queue that is gone takes its series along.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "galleon/v1/journal.pb.h"
#include "server/core/scheduler.h"
#include "server/notify/receiver.h"

namespace prometheus {
class Collectable;
}  // namespace prometheus

namespace galleon::server {

class Metrics {
 public:
  Metrics();
  ~Metrics();

  std::shared_ptr<prometheus::Collectable> collectable() const;

  // From the loop's thread: events that are durable now, with the state after them; a commit; a pass of the policy.
  void committed(const Scheduler& scheduler, const std::vector<v1::JournalEvent>& events, absl::Duration commit);
  // A snapshot was taken.
  void compacted(absl::Duration snapshot);
  void decided(absl::Duration pass);
  void gauges(const Scheduler& scheduler);
  // Bytes of logs that are kept, by project.
  void logs_kept(const std::map<std::string, uint64_t>& projects);
  // Seconds, by receiver.
  void notifications_behind(const std::map<std::string, double>& behind);

  // From any thread.
  // A submit was refused, as a quota of this project is used up.
  void over_quota(const std::string& project, const std::string& resource);
  void reloaded(bool ok);
  void notified(const std::string& receiver, SendResult result);
  void request(absl::string_view method, absl::string_view code);

 private:
  void queue_gauges(const Scheduler& scheduler);
  void pending_gauges(const Scheduler& scheduler);
  void project_gauges(const Scheduler& scheduler);
  struct Series;
  std::unique_ptr<Series> series_;
};

}  // namespace galleon::server

// The scheduler's Prometheus series. Labels are queue, state, outcome, reason, method and code: all bounded.
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
  explicit Metrics(absl::string_view version);
  ~Metrics();

  std::shared_ptr<prometheus::Collectable> collectable() const;

  // From the loop's thread: events that are durable now, with the state after them; a commit; a pass of the policy.
  void committed(const Scheduler& scheduler, const std::vector<v1::JournalEvent>& events, absl::Duration commit);
  // A snapshot was taken.
  void compacted(absl::Duration snapshot);
  void decided(absl::Duration pass);
  void gauges(const Scheduler& scheduler);
  // Seconds, by receiver.
  void notifications_behind(const std::map<std::string, double>& behind);

  // From any thread.
  void reloaded(bool ok);
  void notified(const std::string& receiver, SendResult result);
  void request(absl::string_view method, absl::string_view code);

 private:
  struct Series;
  std::unique_ptr<Series> series_;
};

}  // namespace galleon::server

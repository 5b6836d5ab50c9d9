// What a receiver is told: which changes are worth it, and the text that is sent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "server/core/state.h"
#include "server/notify/notify_file.h"

namespace galleon::server {

inline constexpr char kJobWaits[] = "job.waits";
inline constexpr char kEventsLost[] = "events.lost";  // goes to every receiver that it happens to
inline constexpr const char* kNotificationKinds[] = {"job.succeeded", "job.failed",      "job.cancelled",
                                                     kJobWaits,       "worker.cordoned", "worker.gone"};

struct Notification {
  std::string id;         // the same whenever it is sent again
  uint64_t revision = 0;  // of the change
  uint64_t number = 0;    // of this receiver's notifications, without a gap
  int64_t time_ms = 0;
  std::string body;  // JSON
};

// Nothing: the change is of no interest to this receiver.
std::optional<Notification> notification_of(const v1::Event& event, const State& state, const ReceiverConfig& receiver,
                                            uint64_t number);
// Some of what happened after `revision` is no longer kept.
Notification lost_after(uint64_t revision, uint64_t until, int64_t time_ms, const ReceiverConfig& receiver,
                        uint64_t number);

}  // namespace galleon::server

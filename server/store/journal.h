// The durable journal: events in order, and now and then a snapshot that stands for all of those before it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/journal.pb.h"

namespace galleon::server {

class Journal {
 public:
  virtual ~Journal() = default;

  // Hands out the newest snapshot, if there is one, then every event after it, in order. DATA_LOSS: what is stored is
  // not what was written.
  virtual absl::Status load(const std::function<void(const v1::StateSnapshot&)>& snapshot,
                            const std::function<void(const v1::JournalEvent&)>& event) = 0;
  // All of them or none; on OK they survive a power cut. After an error nobody knows, and the process must end.
  virtual absl::Status append(const std::vector<v1::JournalEvent>& events) = 0;
  // Replaces all events so far by the state that they lead to, in one step.
  virtual absl::Status compact(const v1::StateSnapshot& snapshot) = 0;
  // Events after the newest snapshot.
  virtual int64_t events_since_snapshot() const = 0;
};

}  // namespace galleon::server

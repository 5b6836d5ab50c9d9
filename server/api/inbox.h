// What waits for the loop, in lanes, so that no caller's appetite holds up a lease: what workers say comes first, then
// what changes something, then what is only looked at, by turns of callers.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace galleon::server {

struct Turn;

enum class Lane { kFleet, kChanges, kReads };

// Not for several threads at once.
class Inbox {
 public:
  using Task = std::function<void(Turn&)>;

  // RESOURCE_EXHAUSTED: too many wait, of this caller or in all. What the fleet says is never refused.
  absl::Status add(Lane lane, const std::string& caller, Task task);
  // The next of a lane; nullopt: none.
  std::optional<Task> take(Lane lane);
  size_t size(Lane lane) const { return lanes_[static_cast<size_t>(lane)].waiting; }
  bool empty() const;

 private:
  struct Waiting {
    std::map<std::string, std::deque<Task>> by_caller;
    std::deque<std::string> turns;  // callers of whom something waits, each once
    size_t waiting = 0;
  };
  std::array<Waiting, 3> lanes_;
};

}  // namespace galleon::server

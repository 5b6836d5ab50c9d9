#include "server/api/inbox.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/refusal.h"

namespace galleon::server {

namespace {

struct Most {
  size_t in_all;
  size_t of_caller;
};

constexpr Most kMostChanges = {20'000, 10'000};
constexpr Most kMostReads = {4'000, 500};

}  // namespace

absl::Status Inbox::add(Lane lane, const std::string& caller, Task task) {
  Waiting& waiting = lanes_[static_cast<size_t>(lane)];
  // What the fleet says comes in the order in which it was said.
  const std::string whose = lane == Lane::kFleet ? "" : caller;
  std::deque<Task>& own = waiting.by_caller[whose];
  if (lane != Lane::kFleet) {
    const Most most = lane == Lane::kChanges ? kMostChanges : kMostReads;
    const bool in_all = waiting.waiting >= most.in_all;
    if (in_all || own.size() >= most.of_caller) {
      if (own.empty()) waiting.by_caller.erase(whose);
      return refusal(v1::ErrorInfo::RATE_LIMITED,
                     absl::StrCat("the scheduler has ", in_all ? most.in_all : most.of_caller, " requests",
                                  in_all ? "" : " of yours", " waiting; try again later"));
    }
  }
  if (own.empty()) waiting.turns.push_back(whose);
  own.push_back(std::move(task));
  ++waiting.waiting;
  return absl::OkStatus();
}

std::optional<Inbox::Task> Inbox::take(Lane lane) {
  Waiting& waiting = lanes_[static_cast<size_t>(lane)];
  if (waiting.turns.empty()) return std::nullopt;
  const std::string caller = std::move(waiting.turns.front());
  waiting.turns.pop_front();
  const auto own = waiting.by_caller.find(caller);
  Task task = std::move(own->second.front());
  own->second.pop_front();
  --waiting.waiting;
  if (own->second.empty()) {
    waiting.by_caller.erase(own);
  } else {
    waiting.turns.push_back(caller);
  }
  return task;
}

bool Inbox::empty() const {
  return std::all_of(lanes_.begin(), lanes_.end(), [](const Waiting& lane) { return lane.waiting == 0; });
}

}  // namespace galleon::server

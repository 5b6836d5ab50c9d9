// Queues: what each may use of the fleet, and whose turn it is.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace galleon::server {

// What becomes of a queue's jobs once they have ended.
struct Retention {
  // What becomes of the folder of a job that leaves the list.
  enum class Folders { kKeep, kCheckpoints, kDelete };
  std::optional<int64_t> age_ms;  // so long they are kept; not given: as everywhere
  uint64_t jobs = 0;              // so many of them at most; 0: no number of its own
  Folders folders = Folders::kKeep;
};

struct QueueConfig {
  std::string id = "default";
  double weight = 1;        // share of what nobody is guaranteed
  uint32_t guaranteed = 0;  // slots that it gets whenever it wants them
  uint32_t limit = 0;       // slots at most; 0: no limit
  std::string project = "default";
  Retention retention = {};
  // Its users take turns by what they use now and have used lately; what is so long ago counts half. 0: they do not.
  int64_t half_life_ms = 0;
  uint32_t user_limit_slots = 0;                    // of each user at a time; 0: no limit
  uint32_t user_limit_queued = 0;                   // jobs of each user that wait; 0: no limit
  std::map<std::string, double> user_weights = {};  // 1 where it does not say

  double user_weight(const std::string& user) const {
    const auto it = user_weights.find(user);
    return it == user_weights.end() ? 1 : it->second;
  }
};

// What a queue uses at some moment of a pass, in slots.
struct QueueUse {
  QueueConfig config;
  uint32_t used = 0;
  uint32_t fixed = 0;  // of them, by jobs that cannot be preempted
  uint32_t due = 0;    // beside them, for its first job, which waits and cannot be preempted
  bool configured = true;

  // Is it guaranteed so many more?
  bool entitled(uint32_t ranks) const { return used + ranks <= config.guaranteed; }
  // How many slots more than its guarantee it uses.
  uint32_t borrowed() const { return used > config.guaranteed ? used - config.guaranteed : 0; }
  bool within_limit(uint32_t ranks) const { return config.limit == 0 || used + ranks <= config.limit; }
};

// The next job of a queue, as far as turns go by it.
struct NextJob {
  uint32_t ranks = 1;
  uint64_t number = 0;
  bool overdue = false;  // it has waited at the head of its queue for long
};

// Does a come before b? Whose next job is within what it is guaranteed comes first, the emptier in proportion before
// the fuller; then who is overdue, the older first; then who uses the least for its weight. Among equals the older job
// comes first: no name wins every time.
bool comes_before(const QueueUse& a, const NextJob& next_a, const QueueUse& b, const NextJob& next_b);

// So many slots too many would be held by jobs that nobody can preempt if queue `queue` took `ranks` more for one, on a
// fleet of `total`: the guarantees of other queues could then not be honoured even by preempting everything that can
// be. 0: it may take them. What is due to first jobs counts as taken.
uint32_t beyond_guarantees(const std::vector<QueueUse>& queues, size_t queue, uint32_t ranks, uint32_t total);
// Would that be so if nothing ran?
bool always_beyond_guarantees(const std::vector<QueueUse>& queues, size_t queue, uint32_t ranks, uint32_t total);

// Slots that each queue would get of `total` if `wants[i]` is what it could use: guarantees first, then by weight,
// never more than its limit or its want.
std::vector<double> fair_shares(const std::vector<QueueUse>& queues, const std::vector<double>& wants, double total);

}  // namespace galleon::server

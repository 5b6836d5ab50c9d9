// Queues: what each may use of the fleet, and whose turn it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace galleon::server {

struct QueueConfig {
  std::string id = "default";
  double weight = 1;        // share of what nobody is guaranteed
  uint32_t guaranteed = 0;  // slots that it gets whenever it wants them
  uint32_t limit = 0;       // slots at most; 0: no limit
  std::string project = "default";
};

// What a queue uses at some moment of a pass, in slots.
struct QueueUse {
  QueueConfig config;
  uint32_t used = 0;
  uint32_t fixed = 0;  // of them, by jobs that cannot be preempted
  bool configured = true;

  bool below_guarantee() const { return used < config.guaranteed; }
  // How many slots more than its guarantee it uses.
  uint32_t borrowed() const { return used > config.guaranteed ? used - config.guaranteed : 0; }
  bool within_limit(uint32_t ranks) const { return config.limit == 0 || used + ranks <= config.limit; }
};

// Does a come before b? Who is below its guarantee comes first, the emptier in proportion before the fuller; then who
// uses the least for its weight.
bool comes_before(const QueueUse& a, const QueueUse& b);

// May a job that nobody can preempt take so many more slots for queue `queue`, on a fleet of `total`? Not if the other
// queues' guarantees could then not be honoured even by preempting everything that can be.
bool leaves_guarantees(const std::vector<QueueUse>& queues, size_t queue, uint32_t ranks, uint32_t total);

// Slots that each queue would get of `total` if `wants[i]` is what it could use: guarantees first, then by weight,
// never more than its limit or its want.
std::vector<double> fair_shares(const std::vector<QueueUse>& queues, const std::vector<double>& wants, double total);

}  // namespace galleon::server

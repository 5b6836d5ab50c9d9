// How many more slots would be taken at once if they were there, by what they would have to be: what scales workers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "server/core/demand.h"
#include "server/core/queues.h"
#include "server/core/state.h"
#include "server/core/wait.h"

namespace galleon::server {

struct PendingSlots {
  std::string queue;
  std::string device;  // "auto", "cpu" or "cuda"
  std::string labels;  // that a worker must have: "rack=3,zone=a"; empty: none
  uint64_t slots = 0;
};

// Would it start on a fleet that is large enough? Not what waits for its time, for another job, or for room in a limit.
bool would_start_on_more(Wait::Kind kind);

// Jobs that want slots, one after the other in their order. A limit of a queue, a user or a group that does not reach
// for all of them is used up by the first ones.
class PendingTally {
 public:
  PendingTally(const Usage& usage, const State& state) : usage_(usage), state_(state) {}

  void add(const v1::JobRecord& record, const Demand& demand, const QueueConfig& queue);
  // Of every queue, in order. Label sets beyond `most` are one, called "other".
  std::vector<PendingSlots> take(size_t most = kMostLabelSets) const;

  static constexpr size_t kMostLabelSets = 50;

 private:
  struct Less {
    bool operator()(const std::map<std::string, std::string>* a, const std::map<std::string, std::string>* b) const {
      return *a < *b;
    }
  };
  // Slots that a limit leaves, known by a name; the first call finds how many there are.
  template <typename Left>
  uint64_t& left(const std::string& limit, const Left& find);

  const Usage& usage_;
  const State& state_;
  std::map<std::string, uint64_t> left_;
  std::map<const std::map<std::string, std::string>*, std::map<std::pair<std::string, int>, uint64_t>, Less> slots_;
};

}  // namespace galleon::server

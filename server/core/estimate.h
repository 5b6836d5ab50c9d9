// When slots become free: for certain, by time limits, and as expected, by progress.
#pragma once

#include <vector>

#include "server/core/preemption.h"
#include "server/core/slot_board.h"

namespace galleon::server {

// The time from which on a job that waits for slots can certainly start: the earliest at which enough of those that fit
// are free, if nothing else takes them. kNever where running jobs have no time limit.
int64_t certain_start(SlotBoard& board, const Demand& demand, uint64_t number, int64_t now_ms,
                      const std::vector<RunningJob>& running);

// Plays queued jobs forward, in the order in which they are asked for, over the expected ends of those before them.
class StartEstimates {
 public:
  StartEstimates(const SlotBoard& board, int64_t now_ms, const std::vector<RunningJob>& running);
  // The expected start; kNever if it depends on a job whose end nobody knows. `duration_ms` (kNever: unknown) is how
  // long the job then holds its slots.
  int64_t start(SlotBoard& board, const Demand& demand, int64_t duration_ms);

 private:
  std::vector<int64_t> available_;  // by cell
};

}  // namespace galleon::server

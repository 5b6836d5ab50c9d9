// Who makes room for a job that may take what others hold: the fewest jobs, and among equals the newest, so that the
// least work is disturbed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/core/queues.h"
#include "server/core/slot_board.h"

namespace galleon::server {

// A job that holds slots.
struct RunningJob {
  uint64_t number = 0;
  const std::string* job_id = nullptr;
  size_t queue = 0;
  int32_t priority = 0;
  bool preemptible = false;  // by its own word
  // It made room before and has not run for long since: for so long it makes none for a higher priority, and for so
  // long not even for what another queue is guaranteed.
  int64_t spared_ms = 0;
  int64_t spared_from_guarantees_ms = 0;
  bool stopping = false;  // its slots become free soon
  int64_t start_ms = 0;
  int64_t ends_by_ms = kNever;   // by its time limit
  int64_t expected_ms = kNever;  // by its progress
  uint32_t slots = 0;            // not released yet
  int64_t user = -1;             // as of a queued job
  Cells cells;                   // those of them that are on the board
};

struct Claim {
  uint64_t number = 0;
  size_t queue = 0;
  int32_t priority = 0;
};

// How far a job may go for its room; each goes further than the one before.
enum class Reach {
  kUnspared,   // jobs that never made room, or have run for long since
  kGuarantee,  // for what its queue is guaranteed also those that have run for a short while since
  kWhole,      // and those with which a queue uses more than its guarantee only in part
  kLater,      // and those that are spared now, to say for how long
};

// May the job take `victim`'s slots? In its own queue from lower priority; from another queue to reach its guarantee,
// as far as the other uses more than its own. `taken[q]`: slots already taken from queue q.
bool may_preempt(const Claim& claim, uint32_t ranks, const RunningJob& victim, const std::vector<QueueUse>& queues,
                 const std::vector<uint32_t>& taken, Reach reach);

// Indices into `running` of those who make room so that `demand` fits into `usable` and their slots, going no further
// than needed; empty if nothing does, or if `usable` suffices.
std::vector<size_t> choose_victims(SlotBoard& board, const Demand& demand, const Claim& claim, const Cells& usable,
                                   const std::vector<RunningJob>& running, const std::vector<QueueUse>& queues);

// The time after which others make room for a job that finds nobody now, all of whom it spares; 0: nobody will.
int64_t spared_for(SlotBoard& board, const Demand& demand, const Claim& claim, const Cells& usable,
                   const std::vector<RunningJob>& running, const std::vector<QueueUse>& queues);

}  // namespace galleon::server

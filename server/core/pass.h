// One pass of the policy: which queued jobs start where, who makes room for whom, and why the others wait. Pure:
// figures in, decisions out.
//
// Each queue's jobs are ordered by priority, then age or, where its users take turns, by their use. Queues take turns
// by fair share. The first job of a queue that has to wait is its head: it keeps every free slot that it could use, and
// may preempt. Jobs behind a head start only on slots that it cannot use, or if their time limit ends before the head
// can certainly start. A head that cannot be preempted also keeps its share of what guarantees leave to such jobs. What
// can start on no fleet as it is, is no head.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/core/line.h"
#include "server/core/preemption.h"
#include "server/core/queues.h"
#include "server/core/slot_board.h"
#include "server/core/wait.h"

namespace galleon::server {

// A group of jobs of which only so many may have slots at a time.
struct GroupUse {
  const std::string* group_id = nullptr;
  uint32_t running = 0;  // that have slots, or for which slots are held
  uint32_t most = 0;
  void tell(Wait& wait) const {
    wait.name = "groups/" + *group_id;
    wait.used = running;
    wait.limit = most;
  }
};

// A job that waits for slots and for nothing else.
struct QueuedJob {
  uint64_t number = 0;
  const std::string* job_id = nullptr;
  size_t queue = 0;
  int32_t priority = 0;
  bool preemptible = true;
  const Demand* demand = nullptr;
  int64_t limit_ms = kNever;           // how long it holds its slots at most, the end included
  bool waits_for_room = false;         // others release slots for it
  Cells held;                          // which; those that are still there
  std::vector<uint32_t> avoided = {};  // workers of the board where it could not run
  bool overdue = false;                // it has been at the head of its queue for long
  std::optional<size_t> group = {};    // of the pass: one that limits how many of its jobs run
  bool patient = false;                // nobody makes room for it
  int64_t user = kNoUser;              // where users take turns or have a limit: which
};

struct PassInput {
  int64_t now_ms = 0;
  SlotBoard board;
  std::vector<QueueUse> queues;   // config alone; use is counted from `running`
  std::vector<QueuedJob> queued;  // in order within each queue
  std::vector<RunningJob> running;
  std::vector<GroupUse> groups = {};
  std::vector<UserShare> users = {};  // each in its queue; use is counted from `running`
  size_t most_starts = 256;           // in one pass; the rest is for the next
  size_t most_estimates = 32;         // start estimates, for the first in order
};

struct PassResult {
  struct Start {
    size_t queued;  // index
    std::vector<Place> places;
  };
  struct Preemption {
    size_t queued;                // for this job
    std::vector<size_t> victims;  // indices into running
    std::vector<Place> places;    // what it will start on
  };
  std::vector<Start> starts;
  std::vector<Preemption> preemptions;
  std::vector<Wait> waits;    // for each queued job; of those that start, meaningless
  std::vector<size_t> heads;  // that keep slots: indices into queued
  // For each queued job that does not start, where users take turns: its place in its queue, 1 is next. Else 0.
  std::vector<uint32_t> turns;
  bool more = false;  // most_starts was reached
};

PassResult decide(PassInput input);

}  // namespace galleon::server

// Which queued job gets which slots. Pure: a fleet and a queue in, placements and reasons out. Gang or nothing; higher
// priority first, then first in first out. A job that waits for slots keeps those it could use from the jobs behind it;
// a job that not even an idle fleet could hold keeps nothing. Nothing preempts a running job yet, so `preemptible`
// decides nothing.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "galleon/v1/job.pb.h"
#include "galleon/v1/plan.pb.h"

namespace galleon::server {

// What a job asks of the fleet.
struct Demand {
  uint32_t ranks = 1;
  // Of the largest rank: planned peak and what the process takes beside it. Every rank gets a slot that holds this
  // much.
  uint64_t bytes_per_rank = 0;
  v1::Resources::Device device = v1::Resources::DEVICE_AUTO;
  std::map<std::string, std::string> labels;
};

Demand demand_of(const v1::Job& job, const v1::MemoryPlan& plan);

struct Slot {
  uint32_t index = 0;
  uint64_t free_bytes = 0;  // what a rank may take when the slot is idle
  bool cuda = false;
  bool healthy = true;
  bool free = true;  // not leased, and its worker takes new work
};

struct WorkerSlots {
  std::string worker_id;
  std::map<std::string, std::string> labels;
  std::vector<Slot> slots;
};

struct Place {
  std::string worker_id;
  uint32_t slot = 0;
};

// Why a job was not placed, in figures.
struct Wait {
  enum class Kind {
    kNoWorkers,   // none is registered
    kNeverFits,   // all workers idle could not hold it
    kSlots,       // it waits for slots to become free
    kAhead,       // enough slots are free, but they are kept for a job ahead
    kBackoff,     // a retry waits for its time
    kDependency,  // a job named in `after` has not succeeded yet
  };
  Kind kind = Kind::kSlots;
  uint32_t position = 0;  // 1 is next
  uint32_t queued = 0;
  uint32_t fitting = 0;        // slots that could hold a rank were they idle
  uint32_t free = 0;           // of them, free now
  uint32_t workers = 0;        // registered
  uint64_t largest_bytes = 0;  // most memory that a matching slot offers; 0: no slot matches device and labels
  int64_t until_ms = 0;        // kBackoff
  std::string job_id;          // kDependency
};

// "needs 2 slots of 412 MiB, 1 free on 2 workers": the sentence for a queued job.
std::string wait_message(const Demand& demand, const Wait& wait, int64_t now_ms);
// "412 MiB", "1.5 GiB".
std::string bytes_text(uint64_t bytes);

// One pass over a queue: offer() each job in the order of the queue.
class Placement {
 public:
  explicit Placement(std::vector<WorkerSlots> fleet);

  // Ranks in order, or empty with `wait` filled in (kind and figures, not the position).
  std::vector<Place> offer(const Demand& demand, Wait& wait);

 private:
  struct Entry {
    WorkerSlots worker;
    std::vector<bool> kept;  // for a job ahead
  };
  std::vector<Entry> fleet_;
};

}  // namespace galleon::server

// Why a queued job has not started, in figures and in words.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/core/demand.h"

namespace galleon::server {

struct Wait {
  enum class Kind {
    kNoWorkers,   // none is registered
    kNeverFits,   // all workers idle could not hold it
    kClosed,      // it would fit, were no worker cordoned or drained
    kSlots,       // it waits for slots to become free
    kAhead,       // enough slots are free, but they are kept for a job ahead
    kBackoff,     // a retry waits for its time
    kDependency,  // a job named in `after` has not ended yet as it must
    kHeld,        // somebody holds it
    kLimit,       // its queue uses all it may
    kGuaranteed,  // it is not preemptible, and what others are guaranteed leaves too little even of an idle fleet
    kFixed,       // it is not preemptible, and others that are not hold what their guarantees leave
    kMakingRoom,  // jobs that it preempts write their checkpoints
    kGroup,       // as many jobs of its group have slots as may at a time
    kRung,        // it has reached a rung of its group, and lets others of it reach it too
    kNoQueue,     // its queue is not configured any more
    kUserLimit,   // its user holds all the slots that a user may hold in its queue
    kQuota,       // its project, or its user there, keeps more in jobs' folders than it may
    kPassFull,    // so many jobs start at this moment that it is looked at in the next one
  };
  Kind kind = Kind::kSlots;
  uint32_t position = 0;       // in its queue; 1 is next
  uint32_t queued = 0;         // jobs in its queue
  uint32_t fitting = 0;        // slots that could hold a rank were they idle
  uint32_t free = 0;           // of them, free now
  uint32_t workers = 0;        // registered
  uint64_t largest_bytes = 0;  // most memory that a matching slot offers; 0: no slot matches device and labels
  int64_t until_ms = 0;        // kBackoff
  uint32_t open = 0;           // of `fitting`, those of workers that are neither cordoned nor drained
  uint32_t used = 0;           // kLimit, kUserLimit: slots in use; kMakingRoom, kFixed: slots still to be released
  uint32_t limit = 0;          // kLimit, kUserLimit; kGroup: jobs that may have slots at a time
  uint64_t step = 0;           // kRung
  int64_t spared_ms = 0;       // for so long those who would make room are spared; 0: nobody is
  int64_t estimate_ms = 0;     // when it is expected to start; 0: not known
  uint32_t avoided = 0;        // workers that it is kept from, as it could not run there
  std::string project;         // kNoQueue: the job's
  std::string user;            // kUserLimit: whose
  // Where users take turns: whose it is, in words, which many jobs share.
  std::shared_ptr<const std::string> turn = nullptr;
  // kDependency: the job and how it must end; kHeld: why; kLimit, kUserLimit, kNoQueue: the queue; kAhead: the job
  // ahead; kQuota: what is too much; kGroup, kRung: the group.
  std::string name;
};

// It takes the next slots that fit, as far as it depends on itself.
bool waits_for_slots(Wait::Kind kind);

// "position 2 of 3; needs 2 slots of 412 MiB, 1 free on 2 workers": the sentence for a queued job.
std::string wait_message(const Demand& demand, const Wait& wait, int64_t now_ms);

// What a fleet that can never hold the demand would hold: "4 slots of 24 GiB would fit". `fitting` slots hold a rank,
// `matching` accept its device and labels, the largest of them with `largest_bytes`.
std::string what_fits(const Demand& demand, uint32_t fitting, uint32_t matching, uint64_t largest_bytes);

}  // namespace galleon::server

// How the members of a group stand at a rung: a step at which the worse half of them ends (successive halving).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/core/state.h"

namespace galleon::server {

// The first rung that is not decided yet; 0: none.
uint64_t next_rung(const v1::Group& group);
// Has it no place beyond a rung that is decided? Whoever has it go on all the same takes no part any more.
bool is_out(const v1::Group& group, const std::string& job_id);
// The loss of a job at a rung; null: it has not reached it.
const v1::RungLoss* loss_at(const v1::JobRecord& record, uint64_t rung);

// Those that take part in a rung.
struct Standing {
  struct Place {
    const v1::JobState* job = nullptr;
    bool worst = false;  // failed, cancelled, or without a finite loss
    double loss = 0;
  };
  std::vector<Place> places;  // the best first; of equals the earlier job
  bool complete = true;       // each has reached the rung, or cannot any more
  bool alive = false;         // one of them has not ended
};
// By the losses at the rung. One that ended before it counts with its last loss if it has succeeded, else as worst.
Standing standing_at(const State& state, const v1::Group& group, uint64_t rung);
// So many of them go on: the better half, and the middle one.
inline uint32_t kept_of(size_t judged) {
  return static_cast<uint32_t>(judged - judged / 2);
}

// The loss by which a job is compared with others of its group now; NaN: it has none.
double newest_loss(const v1::JobRecord& record, bool by_validation);

}  // namespace galleon::server

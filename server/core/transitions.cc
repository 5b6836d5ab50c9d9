#include "server/core/transitions.h"

namespace galleon::server {

namespace {

using State = v1::JobRecord;

constexpr unsigned bit(v1::JobRecord::State state) {
  return 1U << state;
}

// Successors of a state as a set of bits.
unsigned successors(v1::JobRecord::State from) {
  switch (from) {
    case State::QUEUED:
      // FAILED: a job that it waits for ended otherwise than SUCCEEDED.
      return bit(State::RESERVED) | bit(State::CANCELLED) | bit(State::FAILED);
    case State::RESERVED:
      return bit(State::STARTING) | bit(State::PREEMPTING) | bit(State::CANCELLING) | bit(State::QUEUED) |
             bit(State::FAILED);
    case State::STARTING:
      return bit(State::RUNNING) | bit(State::PREEMPTING) | bit(State::CANCELLING) | bit(State::QUEUED) |
             bit(State::FAILED);
    case State::RUNNING:
      return bit(State::SUCCEEDED) | bit(State::PREEMPTING) | bit(State::CANCELLING) | bit(State::QUEUED) |
             bit(State::FAILED);
    case State::PREEMPTING:
      // SUCCEEDED: the last step came before the stop did.
      return bit(State::SUCCEEDED) | bit(State::CANCELLING) | bit(State::QUEUED) | bit(State::FAILED);
    case State::CANCELLING:
      return bit(State::CANCELLED);
    default:
      return 0;
  }
}

}  // namespace

bool transition_allowed(v1::JobRecord::State from, v1::JobRecord::State to) {
  return (successors(from) & bit(to)) != 0;
}

bool is_terminal(v1::JobRecord::State state) {
  return state == State::SUCCEEDED || state == State::FAILED || state == State::CANCELLED;
}

bool is_active(v1::JobRecord::State state) {
  return state == State::RESERVED || state == State::STARTING || state == State::RUNNING ||
         state == State::PREEMPTING || state == State::CANCELLING;
}

}  // namespace galleon::server

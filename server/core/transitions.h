// The one table of job states: which may follow which.
#pragma once

#include "absl/strings/string_view.h"
#include "galleon/v1/jobs.pb.h"

namespace galleon::server {

// May a job in `from` come into `to`? A terminal state has no successor, as only somebody's order to resume it leads
// back from one; no state follows itself.
bool transition_allowed(v1::JobRecord::State from, v1::JobRecord::State to);

// SUCCEEDED, FAILED, CANCELLED.
bool is_terminal(v1::JobRecord::State state);

// Holds slots, or may: RESERVED, STARTING, RUNNING, PREEMPTING, CANCELLING.
bool is_active(v1::JobRecord::State state);

}  // namespace galleon::server

// What kind of failure ended a trainer: whether the job would fail again, and whether the machine is to blame.
#pragma once

#include "absl/status/status.h"
#include "galleon/v1/trainer.pb.h"

namespace galleon {

// It would fail in the same way elsewhere and later.
bool is_permanent(const absl::Status& status);

// Rights (doubtful) and space (certain) are the machine's, what does not answer lies outside; neither is the job's.
v1::PlaceFault place_fault_of(const absl::Status& status);

}  // namespace galleon

// Epochs in steps, and steps in sequences, as data.last_batch has it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/ground/options.h"

namespace galleon {

// Of `sequences` in an epoch, what options.epochs comes to. INVALID_ARGUMENT: data.last_batch leaves nothing of them.
absl::StatusOr<int64_t> steps_of_epochs(const RunOptions& options, int64_t sequences);
// The same for people: what so many steps are, and how often a sequence is seen. In a mixture each source has its own
// number of passes, which is told elsewhere.
std::string describe_epochs(const RunOptions& options, int64_t steps, int64_t sequences);
// How many sequences so many steps go through, those that data.last_batch leaves out among them.
int64_t sequences_of_steps(const RunOptions& options, int64_t steps, int64_t sequences);

}  // namespace galleon

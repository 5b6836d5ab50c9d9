// What ranks tell each other of what each did by itself.
#pragma once

#include "absl/status/status.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// A collective: the own error, or UNAVAILABLE with the first one of another rank, or what the communicator met.
absl::Status agree(Communicator& communicator, const absl::Status& own);

}  // namespace galleon

// Whether the ranks of a run write their checkpoints into one and the same folder.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "worker/engine/dist/communicator.h"

namespace galleon {

// A collective, before anything is computed. FAILED_PRECONDITION, on all ranks, names the first rank that does not find
// in `folder` what rank 0 has just written there; also another error of rank 0's writing.
absl::Status check_shared_folder(const std::string& folder, Communicator& communicator);

}  // namespace galleon

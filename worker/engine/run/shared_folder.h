// Whether the ranks of a run write into one and the same folder.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// A collective, before anything is computed. FAILED_PRECONDITION, on all ranks, names the first rank that does not find
// in `folder` what rank 0 has just written there; also that rank 0 cannot write. `what`: the folder in words, such as
// "the checkpoint directory".
absl::Status check_shared_folder(const std::string& folder, const std::string& what, Communicator& communicator);

}  // namespace galleon

// Takes a job's folder away, and nothing beyond it.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace galleon::server {

// Removes the folder `name` directly below `root` with all that is in it. No link is followed: it goes, and what it
// leads to stays. A folder in which another file system is mounted is left, as an error. `kept`: a relative path below
// the folder; of what is in there, what begins with "step-" stays, and the folders on the way to it. What is not there
// any more is no error, so that it may be called again after a crash.
absl::Status remove_below(const std::string& root, const std::string& name, const std::string& kept);

}  // namespace galleon::server

// Names of files with patterns: *, ?, [a-z], {a,b}, and ** for any depth of folders.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace galleon {

// Regular files that match, sorted and each once; none: an empty list. A pattern that is the name of a file is that
// file, whatever characters it has. `**` as a whole component stands for no, one or many folders; it does not follow
// links to folders and passes over hidden ones. PERMISSION_DENIED and others: a folder below `**` that cannot be read.
absl::StatusOr<std::vector<std::string>> matching_files(const std::string& pattern);

// The part of a pattern before its first component that is one, such as "/data/" of "/data/*/a.txt".
std::string fixed_part(const std::string& pattern);

}  // namespace galleon

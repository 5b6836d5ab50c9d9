// Input files: globs, and content that may be compressed.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace galleon {

// Files that match (glob_paths, glob_objects), glob after glob as they are given: sorted within each, and a file that
// several globs match as often as they do. NOT_FOUND names the glob that matches nothing; `key` is the job file's key.
// Errors of object stores.
absl::StatusOr<std::vector<std::string>> expand_globs(const std::vector<std::string>& globs, const std::string& key);

// The file's content; gzip and zstd are recognised by their first bytes. DATA_LOSS: damaged or cut short, with the
// path.
absl::StatusOr<std::string> read_maybe_compressed(const std::string& path);

}  // namespace galleon

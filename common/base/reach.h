// Which files of this machine a process opens for a job: all that its user may, or those below given folders. A path
// is followed to its end first and judged by where that lies, so that nothing can be exchanged between look and use.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/files.h"

namespace galleon {

// Folders, symbolic links resolved.
struct Reach {
  std::vector<std::string> reads;
  std::vector<std::string> writes;  // may be read as well
};

// Of this process from now on, as its user and its umask are. Called once, by main, before anything is opened.
void limit_reach(Reach reach);

// Plain files and folders. PERMISSION_DENIED names the path, where it leads and what may be read.
absl::StatusOr<FileDescriptor> open_to_read(const std::string& path);
// `flags` as for open(2). Where a reach is set, a link at the path's end is not followed.
absl::StatusOr<FileDescriptor> open_to_write(const std::string& path, int flags, mode_t mode = 0644);

// A file that is read whole and parsed, such as a configuration or a vocabulary. INVALID_ARGUMENT: it is larger than
// any that is known, many times over.
inline constexpr uint64_t kLargestParsed = uint64_t{256} << 20;
absl::StatusOr<std::string> read_to_parse(const std::string& path, uint64_t most = kLargestParsed);

// What the system says of itself, below /proc: never a path that a job names.
absl::StatusOr<std::string> read_system_file(const std::string& path);

}  // namespace galleon

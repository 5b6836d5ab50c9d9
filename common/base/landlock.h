// Linux's Landlock: a process that gives itself, and all that it starts, fewer files than its user has, for good.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/files.h"

namespace galleon {

// Files, or folders with all below them. What does not exist is left out.
struct FileRules {
  std::vector<std::string> run;    // read and execute
  std::vector<std::string> read;   // read
  std::vector<std::string> write;  // read, change, make and remove
};

// What the kernel has: 1 and more; 0: no Landlock.
int landlock_version();

// A ruleset for ProcessOptions::ruleset: everything but `rules` is denied. UNIMPLEMENTED: the kernel has no Landlock.
absl::StatusOr<FileDescriptor> make_ruleset(const FileRules& rules);

// Holds this process to a ruleset, for good; it may also read what the kernel says of itself below /proc/self. Makes
// system calls alone, so that a child may call it between fork and exec. False: errno says why.
bool restrict_self(int ruleset);

}  // namespace galleon

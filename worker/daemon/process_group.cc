#include "worker/daemon/process_group.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"

namespace galleon {

namespace {

// The number after `name` on its line of a file such as /proc/meminfo.
uint64_t number_after(const std::string& path, absl::string_view name) {
  const absl::StatusOr<std::string> text = read_file(path);
  if (!text.ok()) return 0;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::StartsWith(line, name)) continue;
    const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    uint64_t value = 0;
    if (words.size() >= 2 && absl::SimpleAtoi(words[1], &value)) return value;
  }
  return 0;
}

// A file that holds one number, such as a control group's limit; 0 for "max" and for no file.
uint64_t number_in(const std::string& path) {
  const absl::StatusOr<std::string> text = read_file(path);
  uint64_t value = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &value)) return 0;
  return value;
}

}  // namespace

std::map<pid_t, GroupUse> process_group_uses(const std::set<pid_t>& groups) {
  std::map<pid_t, GroupUse> uses;
  for (const pid_t group : groups) uses[group];
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc", error), end; !error && it != end; it.increment(error)) {
    int64_t pid = 0;
    if (!absl::SimpleAtoi(it->path().filename().string(), &pid)) continue;
    const absl::StatusOr<std::string> stat = read_file(absl::StrCat("/proc/", pid, "/stat"));
    if (!stat.ok()) continue;
    const size_t after = stat->rfind(')');
    if (after == std::string::npos || after + 2 > stat->size()) continue;
    const std::vector<std::string> fields = absl::StrSplit(stat->substr(after + 2), ' ');
    int64_t owner = 0;
    uint64_t pages = 0;
    if (fields.size() < 22 || !absl::SimpleAtoi(fields[2], &owner)) continue;
    const auto use = uses.find(static_cast<pid_t>(owner));
    if (use == uses.end() || fields[0] == "Z" || fields[0] == "X") continue;
    ++use->second.processes;
    if (absl::SimpleAtoi(fields[21], &pages))
      use->second.resident_bytes += pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  return uses;
}

GroupUse process_group_use(pid_t group) {
  return process_group_uses({group})[group];
}

uint64_t available_memory_bytes() {
  uint64_t available = number_after("/proc/meminfo", "MemAvailable:") * 1024;
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max");
  const uint64_t used = number_in("/sys/fs/cgroup/memory.current");
  // Clean page cache is charged to the group and given back on demand.
  const uint64_t cache = number_after("/sys/fs/cgroup/memory.stat", "inactive_file");
  if (limit > 0) available = std::min(available, limit - std::min(limit, used - std::min(used, cache)));
  return available;
}

uint64_t total_memory_bytes() {
  const uint64_t total = number_after("/proc/meminfo", "MemTotal:") * 1024;
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max");
  return limit > 0 ? std::min(total, limit) : total;
}

uint64_t out_of_memory_kills() {
  return number_after("/proc/vmstat", "oom_kill");
}

}  // namespace galleon

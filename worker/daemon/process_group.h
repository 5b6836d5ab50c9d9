// What /proc tells of a process group and of the machine's memory.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace galleon {

struct GroupUse {
  int processes = 0;  // living; zombies do not count
  uint64_t resident_bytes = 0;
};

GroupUse process_group_use(pid_t group);
// Of several groups at once: one walk over /proc.
std::map<pid_t, GroupUse> process_group_uses(const std::set<pid_t>& groups);

// MemAvailable, or what the memory limit of our control group leaves if that is less.
uint64_t available_memory_bytes();
uint64_t total_memory_bytes();
// Processes that the kernel has killed for want of memory since it started.
uint64_t out_of_memory_kills();

}  // namespace galleon

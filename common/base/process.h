// Child processes in groups of their own. A process is named by its pid together with its start time, so that a reused
// pid is never taken for it.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/user.h"

namespace galleon {

struct ProcessId {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  bool operator==(const ProcessId&) const = default;
};

struct ProcessOptions {
  std::vector<std::string> command;                              // command[0] is a path
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  std::string stdout_path;                                       // appended to; empty: inherited
  std::string stderr_path;                                       // the same; may equal stdout_path
  std::vector<int> kept;                                         // kept open in the child under the same numbers
  bool new_group = true;
  bool die_with_parent = false;   // SIGKILL when the starting thread's process ends
  uint64_t most_memory = 0;       // bytes of address space (RLIMIT_AS); 0: as ours
  uint64_t most_cpu_seconds = 0;  // of the process (RLIMIT_CPU: SIGKILL beyond); 0: as ours
  std::optional<User> user;       // who it runs as; nullopt: as we do
  int ruleset = -1;               // of Landlock, for it and all that it starts; -1: none
};

// Starts a process; reaping is the caller's (wait_process). Descriptors other than 0–2 and `kept` are closed.
absl::StatusOr<ProcessId> start_process(const ProcessOptions& options);

struct ProcessExit {
  int code = 0;  // when signal is 0
  int signal = 0;
};

// The exit of our own child if it has ended (reaps it), else nullopt. NOT_FOUND: not our child.
absl::StatusOr<std::optional<ProcessExit>> poll_process(pid_t pid);
// The same, waiting for at most `timeout`.
absl::StatusOr<std::optional<ProcessExit>> wait_process(pid_t pid, absl::Duration timeout);

// The start time of a living process (a zombie counts as ended).
std::optional<uint64_t> process_start_ticks(pid_t pid);
bool process_alive(const ProcessId& id);
// Sends `signal` to the process group led by `id` if that very process, or a member of its group, still lives.
void signal_process_group(const ProcessId& id, int signal);

struct CommandResult {
  ProcessExit exit;
  bool timed_out = false;
  std::string out;
  std::string err;
};

// Runs a command to its end in a group of its own and collects its output (each stream cut at `max_output`).
// After `timeout` the whole group is killed.
absl::StatusOr<CommandResult> run_command(const std::vector<std::string>& command, absl::Duration timeout,
                                          size_t max_output = 16 << 20);
// The same as another user or within rules; where its output goes is not the options' to say.
absl::StatusOr<CommandResult> run_command(const ProcessOptions& options, absl::Duration timeout,
                                          size_t max_output = 16 << 20);

// For programs that serve until SIGTERM or SIGINT: blocks both, before any other thread starts, so that all of them
// leave these signals to whoever waits for them. SIGPIPE is ignored.
sigset_t block_end_signals();

// The folder of the running executable.
std::string executable_folder();

}  // namespace galleon

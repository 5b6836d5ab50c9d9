// The tiny process between daemon and trainer: leader of the rank's process group and parent of the trainer, so that
// the exit status survives a restart of the daemon.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/process.h"

namespace galleon {

// What the exit file says where there was no trainer to start.
inline constexpr int kTrainerDidNotStart = 126;

// Files in a rank's folder.
inline constexpr char kSupervisorLock[] = "supervisor.lock";
inline constexpr char kSupervisorPid[] = "supervisor.pid";
inline constexpr char kExitFile[] = "exit";

// Starts this executable as the supervisor of `command`, whose output is appended to `log`.
absl::StatusOr<ProcessId> start_supervisor(const std::string& executable, const std::string& folder,
                                           const std::string& log, const std::vector<std::string>& command);

// The body of the supervisor: takes the folder's lock (a second supervisor of one rank ends at once), starts the
// command in its own group, waits, writes the exit file and ends the whole group, itself included.
int supervise(const std::string& folder, const std::string& log, const std::vector<std::string>& command);

// What the supervisor wrote when it began; nullopt: it never came so far.
std::optional<ProcessId> read_supervisor_pid(const std::string& folder);
// What the supervisor wrote at the end; nullopt: nothing (yet).
std::optional<ProcessExit> read_exit_file(const std::string& folder);

}  // namespace galleon

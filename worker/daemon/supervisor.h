// The tiny process between daemon and trainer: leader of the rank's process group and parent of the trainer, so that
// the exit status survives a restart of the daemon. It opens what the trainer may not open itself.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/process.h"
#include "worker/daemon/confinement.h"

namespace galleon {

// What the exit file says where there was no trainer to start.
inline constexpr int kTrainerDidNotStart = 126;
// With this code a trainer ends itself when its lease was not renewed.
inline constexpr int kLeaseExitCode = 75;

// Files in a rank's folder.
inline constexpr char kSupervisorLock[] = "supervisor.lock";
inline constexpr char kSupervisorPid[] = "supervisor.pid";
inline constexpr char kExitFile[] = "exit";

struct Supervision {
  std::string folder;  // the rank's own, which its trainer does not see
  std::string log;     // what the trainer prints is appended to it
  std::string trainer;
  // Handed to the trainer open: the socket that it is spoken to by, a Job and a TrainerAssignment.
  std::string socket;
  std::string job;
  std::string assignment;
  Confinement confinement;

  // As the arguments of this program, and back. nullopt: they are for something else.
  std::vector<std::string> arguments() const;
  static std::optional<Supervision> from(const std::vector<std::string>& arguments);
};

// Starts this executable as the supervisor.
absl::StatusOr<ProcessId> start_supervisor(const std::string& executable, const Supervision& supervision);

// The body of the supervisor: takes the folder's lock (a second supervisor of one rank ends at once), starts the
// trainer in its own group, waits, writes the exit file and ends the whole group, itself included.
int supervise(const Supervision& supervision);

// What the supervisor wrote when it began; nullopt: it never came so far.
std::optional<ProcessId> read_supervisor_pid(const std::string& folder);
// What the supervisor wrote at the end; nullopt: nothing (yet).
std::optional<ProcessExit> read_exit_file(const std::string& folder);

}  // namespace galleon

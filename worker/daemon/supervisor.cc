#include "worker/daemon/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/log.h"

namespace galleon {

namespace {

constexpr int kAlreadySupervised = 125;

// Two whole numbers on one line; anything else counts as unwritten.
std::optional<std::pair<int64_t, uint64_t>> read_pair(const std::string& path) {
  const absl::StatusOr<std::string> text = read_file(path);
  if (!text.ok()) return std::nullopt;
  const std::vector<std::string> words = absl::StrSplit(*text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  std::pair<int64_t, uint64_t> pair;
  if (words.size() != 2 || !absl::SimpleAtoi(words[0], &pair.first) || !absl::SimpleAtoi(words[1], &pair.second)) {
    return std::nullopt;
  }
  return pair;
}

}  // namespace

absl::StatusOr<ProcessId> start_supervisor(const std::string& executable, const std::string& folder,
                                           const std::string& log, const std::vector<std::string>& command) {
  ProcessOptions options;
  options.command = {executable, "--supervise", folder, log, "--"};
  options.command.insert(options.command.end(), command.begin(), command.end());
  options.stdout_path = log;
  options.stderr_path = log;
  return start_process(options);
}

int supervise(const std::string& folder, const std::string& log, const std::vector<std::string>& command) {
  // Signals to the group are for the trainer. Handlers, unlike ignored signals, are reset in it.
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  nothing.sa_flags = SA_RESTART;
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) ::sigaction(signal, &nothing, nullptr);

  const std::string lock_path = absl::StrCat(folder, "/", kSupervisorLock);
  FileDescriptor lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid() || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    log_error("this rank is already supervised: ", lock_path);
    return kAlreadySupervised;
  }
  const uint64_t ticks = process_start_ticks(::getpid()).value_or(0);
  absl::Status written =
      write_file_atomically(absl::StrCat(folder, "/", kSupervisorPid), absl::StrCat(::getpid(), " ", ticks, "\n"));
  ProcessExit exit;
  ProcessOptions options;
  options.command = command;
  options.stdout_path = log;
  options.stderr_path = log;
  options.new_group = false;
  options.die_with_parent = true;
  absl::StatusOr<ProcessId> trainer = written.ok() ? start_process(options) : absl::StatusOr<ProcessId>(written);
  if (!trainer.ok()) {
    log_error("cannot start the trainer: ", trainer.status().message());
    exit.code = kTrainerDidNotStart;
  } else {
    int status = 0;
    while (::waitpid(trainer->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
      exit.signal = WTERMSIG(status);
    } else {
      exit.code = WEXITSTATUS(status);
    }
  }
  written =
      write_file_atomically(absl::StrCat(folder, "/", kExitFile), absl::StrCat(exit.code, " ", exit.signal, "\n"));
  if (!written.ok()) log_error(written.message());
  // Children that the trainer left behind end with us.
  ::kill(0, SIGKILL);
  return exit.code;
}

std::optional<ProcessId> read_supervisor_pid(const std::string& folder) {
  const auto pair = read_pair(absl::StrCat(folder, "/", kSupervisorPid));
  if (!pair) return std::nullopt;
  return ProcessId{static_cast<pid_t>(pair->first), pair->second};
}

std::optional<ProcessExit> read_exit_file(const std::string& folder) {
  const auto pair = read_pair(absl::StrCat(folder, "/", kExitFile));
  if (!pair) return std::nullopt;
  return ProcessExit{static_cast<int>(pair->first), static_cast<int>(pair->second)};
}

}  // namespace galleon

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
#include "common/base/frame.h"
#include "common/base/landlock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr int kAlreadySupervised = 125;
constexpr char kSupervise[] = "--supervise";

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

std::vector<std::string> Supervision::arguments() const {
  std::vector<std::string> words = {kSupervise, folder, log, trainer, socket, job, assignment, confinement.user};
  for (const std::string& place : confinement.reads) words.insert(words.end(), {"--reads", place});
  for (const std::string& place : confinement.writes) words.insert(words.end(), {"--writes", place});
  return words;
}

std::optional<Supervision> Supervision::from(const std::vector<std::string>& arguments) {
  constexpr size_t kFirstPlace = 8;
  if (arguments.size() < kFirstPlace || arguments.size() % 2 != 0 || arguments[0] != kSupervise) return std::nullopt;
  Supervision s;
  std::string* const words[] = {&s.folder, &s.log, &s.trainer, &s.socket, &s.job, &s.assignment, &s.confinement.user};
  for (size_t i = 0; i + 1 < kFirstPlace; ++i) *words[i] = arguments[i + 1];
  for (size_t i = kFirstPlace; i < arguments.size(); i += 2)
    (arguments[i] == "--reads" ? s.confinement.reads : s.confinement.writes).push_back(arguments[i + 1]);
  return s;
}

absl::StatusOr<ProcessId> start_supervisor(const std::string& executable, const Supervision& supervision) {
  ProcessOptions options;
  options.command = supervision.arguments();
  options.command.insert(options.command.begin(), executable);
  options.stdout_path = supervision.log;
  options.stderr_path = supervision.log;
  return start_process(options);
}

namespace {

// As the confinement says; without Landlock where the kernel has none, which the daemon has told at its start.
absl::StatusOr<ProcessId> start_trainer(const Supervision& s) {
  ASSIGN_OR_RETURN(const int listener, listen_unix(s.socket));
  const FileDescriptor socket(listener);
  const FileDescriptor job(::open(s.job.c_str(), O_RDONLY | O_CLOEXEC));
  if (!job.valid()) return errno_status("cannot open", s.job, errno);
  const FileDescriptor assignment(::open(s.assignment.c_str(), O_RDONLY | O_CLOEXEC));
  if (!assignment.valid()) return errno_status("cannot open", s.assignment, errno);
  ProcessOptions options;
  options.command = {s.trainer,
                     "--job-fd",
                     absl::StrCat(job.get()),
                     "--assignment-fd",
                     absl::StrCat(assignment.get()),
                     "--control-fd",
                     absl::StrCat(socket.get())};
  for (const std::string& word : s.confinement.options()) options.command.push_back(word);
  options.kept = {job.get(), assignment.get(), socket.get()};
  options.stdout_path = s.log;
  options.stderr_path = s.log;
  options.new_group = false;
  options.die_with_parent = true;
  if (!s.confinement.user.empty()) {
    ASSIGN_OR_RETURN(options.user, find_user(s.confinement.user));
  }
  absl::StatusOr<FileDescriptor> ruleset = make_ruleset(file_rules(s.confinement, s.trainer));
  if (!ruleset.ok() && !absl::IsUnimplemented(ruleset.status())) return ruleset.status();
  if (ruleset.ok()) options.ruleset = ruleset->get();
  return start_process(options);
}

}  // namespace

int supervise(const Supervision& supervision) {
  // Signals to the group are for the trainer. Handlers, unlike ignored signals, are reset in it.
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  nothing.sa_flags = SA_RESTART;
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) ::sigaction(signal, &nothing, nullptr);

  const std::string& folder = supervision.folder;
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
  absl::StatusOr<ProcessId> trainer = written.ok() ? start_trainer(supervision) : absl::StatusOr<ProcessId>(written);
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
  if (exit.signal == 0 && exit.code == kLeaseExitCode)
    log_error("the lease was not renewed in time; the trainer has ended itself");
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

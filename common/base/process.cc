#include "common/base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/landlock.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

extern char** environ;

namespace galleon {

namespace {

// Everything the child needs after fork, prepared before it: between fork and exec only async-signal-safe calls are
// made.
struct Prepared {
  std::vector<std::string> environment;
  std::vector<char*> argv;
  std::vector<char*> envp;
};

Prepared prepare(const ProcessOptions& options) {
  Prepared p;
  for (char** e = environ; *e != nullptr; ++e) {
    const absl::string_view entry(*e);
    bool replaced = false;
    for (const auto& [key, value] : options.environment) {
      replaced |= entry.size() > key.size() && entry.substr(0, key.size()) == key && entry[key.size()] == '=';
    }
    if (!replaced) p.environment.emplace_back(*e);
  }
  for (const auto& [key, value] : options.environment) p.environment.push_back(absl::StrCat(key, "=", value));
  for (const std::string& s : options.command) p.argv.push_back(const_cast<char*>(s.c_str()));
  p.argv.push_back(nullptr);
  for (std::string& s : p.environment) p.envp.push_back(s.data());
  p.envp.push_back(nullptr);
  return p;
}

absl::StatusOr<FileDescriptor> open_append(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  return file;
}

struct ChildPlan {
  int out = -1;
  int err = -1;
  int failure = -1;
  bool new_group = true;
  bool die_with_parent = false;
  pid_t parent = 0;
  uint64_t most_memory = 0;
  uint64_t most_cpu_seconds = 0;
  const std::vector<int>& kept;
  const std::optional<User>& user;
  int ruleset = -1;
};

// What a child tells its parent of why it did not start.
struct StartFailure {
  enum Step : int { kCommand, kUser, kRuleset };
  Step step = kCommand;
  int error = 0;
};

[[noreturn]] void end_start(const ChildPlan& plan, StartFailure::Step step) {
  const StartFailure failure{step, errno};
  [[maybe_unused]] const ssize_t n = ::write(plan.failure, &failure, sizeof(failure));
  ::_exit(127);
}

// The system calls themselves: the library's functions tell other threads, of which a child after fork has none.
bool become(const User& user) {
  return ::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) == 0 &&
         ::syscall(SYS_setresgid, user.group, user.group, user.group) == 0 &&
         ::syscall(SYS_setresuid, user.id, user.id, user.id) == 0;
}

void limit_to(int resource, uint64_t most) {
  if (most == 0) return;
  // The signal of the processor's share comes with the first of the two; the second is SIGKILL, a second later.
  const rlimit limit{most, resource == RLIMIT_CPU ? most + 1 : most};
  ::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
}

[[noreturn]] void child_main(const ChildPlan& plan, const Prepared& prepared) {
  if (plan.new_group) ::setpgid(0, 0);
  limit_to(RLIMIT_AS, plan.most_memory);
  limit_to(RLIMIT_CPU, plan.most_cpu_seconds);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  const int null = ::open("/dev/null", O_RDWR);
  if (null >= 0) ::dup2(null, 0);
  if (plan.out >= 0) ::dup2(plan.out, 1);
  if (plan.err >= 0) ::dup2(plan.err, 2);
  if (plan.user && !become(*plan.user)) end_start(plan, StartFailure::kUser);
  // Another user's process forgets it.
  if (plan.die_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != plan.parent) ::_exit(127);
  }
  if (plan.ruleset >= 0 && !restrict_self(plan.ruleset)) end_start(plan, StartFailure::kRuleset);
  // Everything else was opened close-on-exec by us; libraries are not that careful.
  ::syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
  for (const int fd : plan.kept) ::fcntl(fd, F_SETFD, 0);
  ::execve(prepared.argv[0], prepared.argv.data(), prepared.envp.data());
  end_start(plan, StartFailure::kCommand);
}

absl::StatusOr<ProcessId> spawn(const ProcessOptions& options, int out, int err) {
  if (options.command.empty()) return absl::InvalidArgumentError("a process needs a command");
  const Prepared prepared = prepare(options);
  int failure[2];
  if (::pipe2(failure, O_CLOEXEC) != 0) return errno_status("cannot start", options.command[0], errno);
  FileDescriptor failure_read(failure[0]);
  FileDescriptor failure_write(failure[1]);
  const ChildPlan plan{out,
                       err,
                       failure[1],
                       options.new_group,
                       options.die_with_parent,
                       ::getpid(),
                       options.most_memory,
                       options.most_cpu_seconds,
                       options.kept,
                       options.user,
                       options.ruleset};
  const pid_t pid = ::fork();
  if (pid < 0) return errno_status("cannot start", options.command[0], errno);
  if (pid == 0) child_main(plan, prepared);
  failure_write.reset();
  if (options.new_group) ::setpgid(pid, pid);
  StartFailure told;
  ssize_t n;
  do {
    n = ::read(failure_read.get(), &told, sizeof(told));
  } while (n < 0 && errno == EINTR);
  if (n == sizeof(told)) {
    ::waitpid(pid, nullptr, 0);
    const char* what = told.step == StartFailure::kUser      ? "cannot become the user of"
                       : told.step == StartFailure::kRuleset ? "Landlock cannot be applied to"
                                                             : "cannot start";
    return errno_status(what, options.command[0], told.error);
  }
  return ProcessId{pid, process_start_ticks(pid).value_or(0)};
}

// Fields of /proc/PID/stat after the command's closing bracket: state is field 3.
std::vector<std::string> stat_fields(pid_t pid) {
  absl::StatusOr<std::string> stat = read_system_file(absl::StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) return {};
  const size_t end = stat->rfind(')');
  if (end == std::string::npos || end + 2 > stat->size()) return {};
  return absl::StrSplit(stat->substr(end + 2), ' ');
}

}  // namespace

absl::StatusOr<ProcessId> start_process(const ProcessOptions& options) {
  FileDescriptor out;
  FileDescriptor err;
  if (!options.stdout_path.empty()) {
    ASSIGN_OR_RETURN(FileDescriptor file, open_append(options.stdout_path));
    out = std::move(file);
  }
  if (!options.stderr_path.empty()) {
    ASSIGN_OR_RETURN(FileDescriptor file, open_append(options.stderr_path));
    err = std::move(file);
  }
  return spawn(options, out.get(), err.get());
}

absl::StatusOr<std::optional<ProcessExit>> poll_process(pid_t pid) {
  int status = 0;
  const pid_t result = ::waitpid(pid, &status, WNOHANG);
  if (result < 0) return absl::NotFoundError(absl::StrCat("process ", pid, " is not a child of this one"));
  if (result == 0) return std::nullopt;
  ProcessExit exit;
  if (WIFSIGNALED(status)) {
    exit.signal = WTERMSIG(status);
  } else {
    exit.code = WEXITSTATUS(status);
  }
  return exit;
}

absl::StatusOr<std::optional<ProcessExit>> wait_process(pid_t pid, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    absl::StatusOr<std::optional<ProcessExit>> exit = poll_process(pid);
    if (!exit.ok() || exit->has_value() || absl::Now() >= deadline) return exit;
    absl::SleepFor(absl::Milliseconds(5));
  }
}

std::optional<uint64_t> process_start_ticks(pid_t pid) {
  const std::vector<std::string> fields = stat_fields(pid);
  uint64_t ticks = 0;
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return std::nullopt;
  if (!absl::SimpleAtoi(fields[19], &ticks)) return std::nullopt;
  return ticks;
}

bool process_alive(const ProcessId& id) {
  const std::optional<uint64_t> ticks = process_start_ticks(id.pid);
  return ticks.has_value() && *ticks == id.start_ticks;
}

void signal_process_group(const ProcessId& id, int signal) {
  if (id.pid <= 1) return;
  // While the leader lives (or waits to be reaped) its pid cannot be reused. When it is gone its group number stays
  // taken as long as a member lives; a process of another age under that pid means that the group is not ours any more.
  const std::vector<std::string> fields = stat_fields(id.pid);
  if (fields.size() >= 20) {
    uint64_t ticks = 0;
    if (!absl::SimpleAtoi(fields[19], &ticks) || (id.start_ticks != 0 && ticks != id.start_ticks)) return;
  }
  ::kill(-id.pid, signal);
}

absl::StatusOr<CommandResult> run_command(const std::vector<std::string>& command, absl::Duration timeout,
                                          size_t max_output) {
  ProcessOptions options;
  options.command = command;
  return run_command(options, timeout, max_output);
}

absl::StatusOr<CommandResult> run_command(const ProcessOptions& options, absl::Duration timeout, size_t max_output) {
  const std::vector<std::string>& command = options.command;
  int out[2];
  int err[2];
  if (::pipe2(out, O_CLOEXEC) != 0) return errno_status("cannot start", command.empty() ? "" : command[0], errno);
  FileDescriptor out_read(out[0]), out_write(out[1]);
  if (::pipe2(err, O_CLOEXEC) != 0) return errno_status("cannot start", command.empty() ? "" : command[0], errno);
  FileDescriptor err_read(err[0]), err_write(err[1]);
  ASSIGN_OR_RETURN(ProcessId process, spawn(options, out_write.get(), err_write.get()));
  out_write.reset();
  err_write.reset();

  CommandResult result;
  const absl::Time deadline = absl::Now() + timeout;
  while (out_read.valid() || err_read.valid()) {
    pollfd fds[2] = {{out_read.get(), POLLIN, 0}, {err_read.get(), POLLIN, 0}};
    const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left <= 0) {
      result.timed_out = true;
      break;
    }
    if (::poll(fds, 2, static_cast<int>(std::min<int64_t>(left, 1000))) < 0 && errno != EINTR) break;
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      char buffer[1 << 16];
      const ssize_t n = ::read(fds[i].fd, buffer, sizeof(buffer));
      std::string& target = i == 0 ? result.out : result.err;
      if (n > 0) target.append(buffer, std::min<size_t>(n, max_output - std::min(max_output, target.size())));
      if (n == 0) (i == 0 ? out_read : err_read).reset();
    }
  }
  if (result.timed_out) signal_process_group(process, SIGKILL);
  absl::StatusOr<std::optional<ProcessExit>> exit =
      wait_process(process.pid, result.timed_out ? absl::Seconds(10) : deadline - absl::Now());
  if (!exit.ok()) return exit.status();
  if (!exit->has_value()) {
    result.timed_out = true;
    signal_process_group(process, SIGKILL);
    exit = wait_process(process.pid, absl::Seconds(10));
    if (!exit.ok() || !exit->has_value()) return absl::UnavailableError(absl::StrCat(command[0], " cannot be ended"));
  }
  result.exit = **exit;
  return result;
}

sigset_t block_end_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return signals;
}

std::string executable_folder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
}

}  // namespace galleon

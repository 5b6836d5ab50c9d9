#include "client/local_run.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "client/commands.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

volatile std::sig_atomic_t caught = 0;
volatile std::sig_atomic_t interrupts = 0;  // of them from a keyboard

}  // namespace

void catch_stop_signals() {
  struct sigaction action {};
  action.sa_handler = [](int number) {
    caught = caught + 1;
    if (number == SIGINT) interrupts = interrupts + 1;
  };
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) ::sigaction(number, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

bool told_to_end_at_once(const LocalRanks& ranks) {
  return (ranks.patient ? interrupts : caught) > 1;
}

std::string LocalRun::random_id() {
  return random_hex(4);
}

LocalRun::~LocalRun() {
  for (RunningRank& rank : running_) {
    if (!rank.exit.has_value()) signal_process_group(rank.process, SIGKILL);
  }
  for (RunningRank& rank : running_) {
    if (!rank.exit.has_value()) (void)wait_process(rank.process.pid, absl::Seconds(10));
  }
  std::error_code error;
  if (ranks_.own_meeting) std::filesystem::remove_all(ranks_.meeting, error);
  std::filesystem::remove(job_path(), error);
}

std::string LocalRun::job_path() const {
  return absl::StrCat(output_, "/.job-", id_, ".pb");
}

std::string LocalRun::log_path(int rank) const {
  return absl::StrCat(output_, "/rank-", rank, ".log");
}

std::vector<std::string> LocalRun::command_of(int rank, int events_fd) const {
  std::vector<std::string> command = {trainer_path(),
                                      "--job",
                                      job_path(),
                                      "--output",
                                      output_,
                                      "--rank",
                                      std::to_string(rank),
                                      "--ranks",
                                      std::to_string(ranks_.ranks),
                                      "--rendezvous",
                                      ranks_.meeting,
                                      "--threads",
                                      std::to_string(ranks_.threads),
                                      "--local-rank",
                                      std::to_string(ranks_.gpu + rank - ranks_.first),
                                      "--local-ranks",
                                      std::to_string(ranks_.sharing_gpus),
                                      "--meet-within",
                                      absl::StrCat(ranks_.meet_within),
                                      "--events-fd",
                                      std::to_string(events_fd)};
  if (!ranks_.interface.empty()) command.insert(command.end(), {"--interface", ranks_.interface});
  if (!ranks_.secret_file.empty()) command.insert(command.end(), {"--secret-file", ranks_.secret_file});
  return command;
}

absl::Status LocalRun::start() {
  RETURN_IF_ERROR(make_folders(output_));
  RETURN_IF_ERROR(write_file_atomically(job_path(), job_.SerializeAsString()));
  int events[2];
  if (::pipe2(events, O_CLOEXEC) != 0) return errno_status("cannot create a pipe for", trainer_path(), errno);
  events_ = FileDescriptor(events[0]);
  const FileDescriptor write_end(events[1]);
  for (int rank = ranks_.first; rank < ranks_.first + ranks_.count; ++rank) {
    ProcessOptions options;
    const int events_end = rank == ranks_.first ? write_end.get() : -1;
    if (events_end >= 0) options.kept = {events_end};
    options.command = command_of(rank, events_end);
    options.stderr_path = log_path(rank);
    options.stdout_path = log_path(rank);
    options.die_with_parent = true;
    ASSIGN_OR_RETURN(ProcessId process, start_process(options));
    running_.push_back({process, std::nullopt});
  }
  return absl::OkStatus();
}

void LocalRun::signal_all(int signal) {
  for (RunningRank& rank : running_) {
    if (!rank.exit.has_value()) signal_process_group(rank.process, signal);
  }
}

void LocalRun::ask_to_stop(ProgressView& view) {
  const bool signalled = caught != 0;
  if (!asked_ && (signalled || absl::Now() >= ranks_.train_until)) {
    asked_ = true;
    view.note(!signalled       ? absl::StrCat(ranks_.until_reason, "; saving a checkpoint")
              : ranks_.patient ? "told to end; saving a checkpoint"
                               : "interrupted; saving a checkpoint (again to end at once)");
    signal_all(SIGTERM);
  }
  if (told_to_end_at_once(ranks_)) signal_all(SIGKILL);
}

bool LocalRun::all_ended(absl::Time& failed_since) {
  bool all = true;
  for (RunningRank& rank : running_) {
    if (rank.exit.has_value()) continue;
    absl::StatusOr<std::optional<ProcessExit>> exit = poll_process(rank.process.pid);
    if (exit.ok() && exit->has_value()) rank.exit = **exit;
    if (!rank.exit.has_value()) all = false;
    if (rank.exit.has_value() && (rank.exit->code != 0 || rank.exit->signal != 0))
      failed_since = std::min(failed_since, absl::Now());
  }
  return all;
}

void LocalRun::follow(ProgressView& view) {
  absl::Time failed_since = absl::InfiniteFuture();
  while (true) {
    pollfd fd{events_.get(), POLLIN, 0};
    ::poll(&fd, events_.valid() ? 1 : 0, 100);
    if (events_.valid() && fd.revents != 0) read_events(view);
    ask_to_stop(view);
    if (all_ended(failed_since)) break;
    // One rank's failure ends the others, after a moment in which they may say why themselves.
    if (absl::Now() > failed_since + absl::Seconds(2)) signal_all(SIGKILL);
  }
  if (events_.valid()) read_events(view);
}

void LocalRun::read_events(ProgressView& view) {
  char buffer[1 << 16];
  const ssize_t n = ::read(events_.get(), buffer, sizeof(buffer));
  if (n <= 0) {
    if (n == 0) events_.reset();
    return;
  }
  decoder_.append({buffer, static_cast<size_t>(n)});
  while (true) {
    absl::StatusOr<std::optional<std::string>> frame = decoder_.next();
    if (!frame.ok() || !frame->has_value()) return;
    v1::TrainerEvent event;
    if (!event.ParseFromString(**frame)) continue;
    if (event.has_stage()) view.stage(event.stage());
    if (event.has_step()) view.step(event.step());
    if (event.has_evaluation()) view.evaluation(event.evaluation());
    if (event.has_finished()) finished_ = event.finished();
  }
}

std::string LocalRun::failure() const {
  if (finished_.outcome() == v1::Finished::FAILED) return finished_.message();
  for (int rank = ranks_.first; rank < ranks_.first + static_cast<int>(running_.size()); ++rank) {
    const std::optional<ProcessExit>& exit = running_[rank - ranks_.first].exit;
    if (!exit.has_value() || (exit->code == 0 && exit->signal == 0)) continue;
    // Our own signals: to a process too young to know them, or to those who waited for it.
    if ((asked_ || caught != 0) && (exit->signal == SIGTERM || exit->signal == SIGUSR1 || exit->signal == SIGKILL))
      continue;
    absl::StatusOr<std::string> tail = read_file_tail(log_path(rank), 2000);
    std::string why = exit->signal != 0 ? absl::StrCat("was ended by signal ", exit->signal)
                                        : absl::StrCat("ended with code ", exit->code);
    if (tail.ok() && !tail->empty()) {
      const std::vector<std::string> lines = absl::StrSplit(absl::StripSuffix(*tail, "\n"), '\n');
      absl::StrAppend(&why, "; its last line: ", lines.back());
    }
    return absl::StrCat("rank ", rank, " ", why, " (", log_path(rank), ")");
  }
  return "";
}

}  // namespace galleon

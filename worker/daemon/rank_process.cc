#include "worker/daemon/rank_process.h"

#include <signal.h>

#include "common/base/status_macros.h"
#include "worker/daemon/process_group.h"

namespace galleon {

namespace {

constexpr absl::Duration kToWriteTheEnd = absl::Milliseconds(500);

}  // namespace

void RankProcess::restore(const v1::HeldRankState::Process& state) {
  id_ = {static_cast<pid_t>(state.pid()), state.start_ticks()};
  killed_ = state.killed();
  kills_before_ = state.kills_before();
}

v1::HeldRankState::Process RankProcess::state() const {
  v1::HeldRankState::Process state;
  state.set_pid(id_.pid);
  state.set_start_ticks(id_.start_ticks);
  state.set_killed(killed_);
  state.set_kills_before(kills_before_);
  return state;
}

absl::Status RankProcess::start(const std::string& executable, Supervision supervision) {
  supervision.folder = folder_;
  kills_before_ = out_of_memory_kills();
  ASSIGN_OR_RETURN(id_, start_supervisor(executable, supervision));
  return absl::OkStatus();
}

bool RankProcess::adopt() {
  const std::optional<ProcessId> process = read_supervisor_pid(folder_);
  if (process) id_ = *process;
  return process.has_value();
}

RankProcess::End RankProcess::look(absl::Duration now) {
  if (read_exit_file(folder_).has_value()) return End::kByItself;
  if (process_group_use(id_.pid).processes != 1) return End::kAtOurs;
  if (!unclear_until_) unclear_until_ = now + kToWriteTheEnd;
  return now < *unclear_until_ ? End::kUnclear : End::kAtOurs;
}

void RankProcess::signal() const {
  signal_process_group(id_, SIGKILL);
}

std::optional<ProcessExit> RankProcess::poll() {
  (void)poll_process(id_.pid);
  if (process_alive(id_)) {
    // A daemon before us may have decided the end and died before the signal.
    if (killed_) signal();
    return std::nullopt;
  }
  // The leader is gone; nothing of its group may outlive it.
  if (process_group_use(id_.pid).processes > 0) {
    signal();
    return std::nullopt;
  }
  const std::optional<ProcessExit> written = read_exit_file(folder_);
  exit_written_ = written.has_value();
  ProcessExit killed;
  killed.signal = SIGKILL;
  return written.value_or(killed);
}

bool RankProcess::memory_ran_out() const {
  return out_of_memory_kills() > kills_before_;
}

}  // namespace galleon

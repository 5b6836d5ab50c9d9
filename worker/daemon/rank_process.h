// The processes of one rank: started, ended, and how they ended. They outlive the daemon.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/process.h"
#include "galleon/v1/daemon.pb.h"
#include "worker/daemon/supervisor.h"

namespace galleon {

class RankProcess {
 public:
  // `folder`: the rank's own.
  explicit RankProcess(std::string folder) : folder_(std::move(folder)) {}
  // As a daemon before us knew it.
  void restore(const v1::HeldRankState::Process& state);
  v1::HeldRankState::Process state() const;

  // Runs a trainer under a supervisor, this `executable`. The folder is the rank's own.
  absl::Status start(const std::string& executable, Supervision supervision);
  // Takes over what a daemon before us started without living to record it. False: it started nothing.
  bool adopt();

  const ProcessId& id() const { return id_; }
  bool started() const { return id_.pid > 0; }
  // A daemon has decided the end.
  bool killed() const { return killed_; }
  void set_killed() { killed_ = true; }

  // What can be done about the end of a started rank now.
  enum class End {
    kByItself,  // the trainer has ended, and its supervisor has written how: nobody's doing
    kUnclear,   // its supervisor alone is left and is about to write; look again soon
    kAtOurs,    // it runs
  };
  // Unclear for half a second at most, counted from the first look.
  End look(absl::Duration now);
  // SIGKILL for the whole group.
  void signal() const;

  // Once nothing of the group lives: how it ended. Signals again what a daemon has decided to end, and what outlives
  // the leader.
  std::optional<ProcessExit> poll();
  // How its supervisor says that it ended; SIGKILL where it could not say.
  bool exit_written() const { return exit_written_; }
  // The kernel has killed for want of memory since it started.
  bool memory_ran_out() const;

 private:
  const std::string folder_;
  ProcessId id_;
  bool killed_ = false;
  bool exit_written_ = false;
  uint64_t kills_before_ = 0;
  std::optional<absl::Duration> unclear_until_;
};

}  // namespace galleon

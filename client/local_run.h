// Ranks of one run on this machine: a process of galleon-trainer for each, their events and their end.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/progress.h"
#include "common/base/files.h"
#include "common/base/frame.h"
#include "common/base/process.h"
#include "galleon/v1/job.pb.h"
#include "galleon/v1/trainer.pb.h"

namespace galleon {

// Which ranks run here, and how they find the others.
struct LocalRanks {
  int ranks = 1;  // of the run
  int first = 0;
  int count = 1;
  // Of the first one here: the number of its GPU among those that this machine shows, and how many ranks share these.
  int gpu = 0;
  int sharing_gpus = 1;
  int threads = 1;           // of each
  std::string meeting;       // a folder or HOST:PORT
  bool own_meeting = false;  // a folder that is removed at the end
  double meet_within = 60;   // seconds
  std::string secret_file;   // for HOST:PORT
  std::string interface;     // empty: loopback
  // Then they are asked to stop with a checkpoint, for this reason.
  absl::Time train_until = absl::InfiniteFuture();
  std::string until_reason;
  // Whether a second Ctrl-C alone ends the run at once: Slurm warns with one signal, ends with another, and kills by
  // itself.
  bool patient = false;
};

// From here on SIGINT, SIGTERM and SIGUSR1 ask the run to stop with a checkpoint, a second one to end at once.
void catch_stop_signals();
// Whether they have said so.
bool told_to_end_at_once(const LocalRanks& ranks);

class LocalRun {
 public:
  // `output`: an absolute path. The job is not owned.
  LocalRun(const std::string& output, const v1::Job& job, const LocalRanks& ranks)
      : output_(output), job_(job), ranks_(ranks) {}
  // Ends what still runs.
  ~LocalRun();
  LocalRun(const LocalRun&) = delete;
  LocalRun& operator=(const LocalRun&) = delete;

  absl::Status start();
  // Shows events until every rank here has ended.
  void follow(ProgressView& view);
  // As the first rank here has told it.
  const v1::Finished& finished() const { return finished_; }
  // The first failure in words, or nothing.
  std::string failure() const;

 private:
  struct RunningRank {
    ProcessId process;
    std::optional<ProcessExit> exit;
  };
  std::string job_path() const;
  std::string log_path(int rank) const;
  std::vector<std::string> command_of(int rank, int events_fd) const;
  void signal_all(int signal);
  void ask_to_stop(ProgressView& view);
  // Reaps. Whether all have ended.
  bool all_ended(absl::Time& failed_since);
  void read_events(ProgressView& view);

  const std::string output_;
  const v1::Job& job_;
  const LocalRanks ranks_;
  const std::string id_ = random_id();
  static std::string random_id();
  FrameDecoder decoder_;
  FileDescriptor events_;
  std::vector<RunningRank> running_;
  bool asked_ = false;
  v1::Finished finished_;
};

}  // namespace galleon

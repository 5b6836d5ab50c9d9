// One rank of an attempt as this daemon holds it: its process, what is delivered to and from its trainer, its log and
// its report, kept in a folder so that a restarted daemon goes on where the last one stood.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "galleon/v1/daemon.pb.h"
#include "galleon/v1/workers.pb.h"
#include "worker/daemon/kept_report.h"
#include "worker/daemon/log_tail.h"
#include "worker/daemon/rank_process.h"
#include "worker/daemon/trainer_delivery.h"

namespace galleon {

// What the slot of a rank is.
struct RankDevice {
  std::string kind = "cpu";  // or "cuda"
  std::string uuid;          // of a GPU
};

struct RankOptions {
  std::string executable;             // this daemon, for the supervisor
  std::string trainer;                // galleon-trainer
  std::string jobs_folder;            // of the scheduler
  std::vector<std::string> roots;     // what jobs may read, symbolic links resolved
  std::vector<std::string> copies;    // addresses to which they may copy checkpoints
  std::vector<std::string> trackers;  // addresses of servers that they may tell of runs
  std::string cache;                  // folder where trainers keep what they copy from object stores
  std::string trainer_user;           // who trainers run as; empty: the daemon's own user
  uint32_t threads = 1;
  std::vector<RankDevice> devices;  // by slot
  std::string interface;            // that trainers speak to each other over
  uint64_t spool_bytes = 64 << 20;
  uint64_t token_cache_bytes = 0;                 // of what jobs share below jobs_folder; 0: each has its own
  absl::Duration stop_margin = absl::Seconds(5);  // beyond the grace, before the group is killed
};

class HeldRank {
 public:
  // "job.attempt.rank", the name of its folder below `<data>/attempts`.
  static std::string key(const v1::AttemptId& id, uint32_t rank);

  // Takes over a new assignment and starts its trainer. What goes wrong becomes the report of an exited rank.
  static std::unique_ptr<HeldRank> begin(const v1::Assignment& assignment, const std::string& folder,
                                         const RankOptions& options, absl::Duration lease_end, absl::Duration now);
  // Takes over what a daemon before us left in `folder`.
  static absl::StatusOr<std::unique_ptr<HeldRank>> recover(const std::string& folder, const RankOptions& options);

  const v1::Assignment& assignment() const { return assignment_; }
  const v1::RankReport& report() const { return report_.report(); }
  std::string key() const { return key(assignment_.id(), assignment_.rank()); }
  const std::string& folder() const { return folder_; }
  bool exited() const { return report_.exited(); }
  const ProcessId& process() const { return process_.id(); }

  // The scheduler's newest word on this rank.
  void update(const v1::Assignment& assignment, absl::Duration now);
  // The scheduler does not list it: ended, and forgotten once its log is away.
  void unlist(absl::Duration now);
  bool listed() const { return listed_; }
  // The attempt may go on until then, on the monotonic clock.
  void grant_lease(absl::Duration lease_end, absl::Duration now) { delivery_.grant_lease(lease_end, now); }
  // Asks the trainer to checkpoint and end; kills it when `grace` and the margin are over.
  void stop(const std::string& reason, absl::Duration grace, absl::Duration now);
  // Ends the whole group at once, or, where it may have ended by itself a moment ago, once that is clear: the end is
  // then seen with its own code or signal. The reason goes into its log.
  void kill(const std::string& reason, absl::Duration now);

  // A checkpoint that waits for the scheduler's permission, given out once until decided or released for another try.
  std::optional<v1::CheckpointReady> take_checkpoint() { return delivery_.take_checkpoint(); }
  void retry_checkpoint() { delivery_.retry_checkpoint(); }
  void decide(uint64_t step, bool approved, const std::string& reason);

  // Connects, reads events, sees the end. True when the report changed in a way that the scheduler should hear of now.
  bool tick(absl::Duration now);
  int fd() const { return delivery_.fd(); }
  bool wants_to_write() const { return delivery_.wants_to_write(); }
  // Counts changes of the report, urgent or not.
  uint64_t changes() const { return report_.changes(); }

  // The log's next piece; nullopt: nothing to send now.
  struct LogPiece {
    LogTail::Chunk chunk;
    bool complete = false;
  };
  std::optional<LogPiece> next_log();
  void acknowledge_log(const LogPiece& piece, uint64_t stored);
  void abandon_log();
  bool log_done() const { return log_done_; }

 private:
  HeldRank(std::string folder, const RankOptions& options, const v1::HeldRankState& state);

  std::string log_path() const;
  absl::Status check(const RankOptions& options, v1::PlaceFault& place) const;
  absl::Status launch(absl::Duration lease);
  std::string token_caches() const;
  v1::TrainerAssignment trainer_assignment(absl::Duration lease) const;
  void refuse(const absl::Status& why, v1::PlaceFault place);
  void append_to_log(const std::string& line);
  void try_to_kill(absl::Duration now);
  bool receive();
  bool see_end();
  void save();

  const std::string folder_;
  const RankOptions options_;
  v1::Assignment assignment_;
  KeptReport report_;
  RankProcess process_;
  TrainerDelivery delivery_;
  LogTail log_;
  bool log_done_ = false;
  std::optional<absl::Duration> kill_at_;   // the grace of a stop is over
  std::optional<std::string> kill_reason_;  // decided, and not yet done
  bool listed_ = true;
};

}  // namespace galleon

// Tells an MLflow server of a run beside training: a thread of its own that sends what metrics.jsonl holds. The file is
// its spool, so that nothing is lost while the server is away, and training never waits for it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/tracking/metrics_reader.h"
#include "worker/engine/tracking/mlflow_access.h"
#include "worker/engine/tracking/mlflow_server.h"
#include "worker/engine/tracking/tracked_run.h"

namespace galleon {

enum class RunEnd { kFinished, kFailed, kKilled };

struct MlflowRun {
  std::string experiment;
  std::string name;         // the run's, for people
  std::string mathematics;  // what is computed: where it is what it was, the run in `memory` is taken up again
  bool subspaces = false;   // whether metrics of these say something
  MlflowPairs parameters;   // of the run's beginning; MLflow lets none be changed
  MlflowPairs tags;         // set again by each attempt
  std::string metrics;      // path of metrics.jsonl
  std::string memory;       // path of what is remembered of the run there
};

struct MlflowPace {
  absl::Duration between_calls = absl::Seconds(1);  // of metrics, while there are few
  absl::Duration first_pause = absl::Seconds(1);    // after a call that failed; doubled with each
  absl::Duration longest_pause = absl::Minutes(1);
  absl::Duration call_timeout = absl::Seconds(30);
};

class MlflowTracker {
 public:
  using WallClock = std::function<absl::Time()>;
  // Errors of the file in `memory`. Whether the server is there shows later.
  static absl::StatusOr<std::unique_ptr<MlflowTracker>> start(const MlflowAccess& access, const MlflowRun& run,
                                                              const WallClock& clock, const MlflowPace& pace = {});
  // Ends soon, whatever is left.
  ~MlflowTracker();
  MlflowTracker(const MlflowTracker&) = delete;
  MlflowTracker& operator=(const MlflowTracker&) = delete;

  // There is more in metrics.jsonl.
  void more();
  // What has happened since the last call, in words.
  std::vector<std::string> notes();
  // Whether more than the end is left to be told, as far as is known.
  bool behind() const;
  // Sends what is left and how the run ended, for at most `patience`. What could not be sent, in words; empty: nothing.
  std::string finish(RunEnd end, absl::Duration patience);

 private:
  MlflowTracker(const MlflowAccess& access, const MlflowRun& run, const WallClock& clock, const MlflowPace& pace);
  void run();
  // The next thing that the server is to hear. False: there is nothing for now.
  absl::StatusOr<bool> advance();
  absl::StatusOr<bool> announce();
  absl::Status find_or_create();
  absl::StatusOr<bool> send_lines();
  absl::StatusOr<bool> send_end();
  absl::Status remember();
  void note(const std::string& text);
  void tell_of(const absl::Status& failure);
  // Until there is something to do, or the pause is over where there is one. False: it is to end at once.
  bool wait(absl::Duration pause, bool for_more);
  bool ending() const;
  int64_t unsent_lines();

  const std::string address_;
  const MlflowRun run_;
  const MlflowPace pace_;
  const WallClock clock_;
  const int64_t start_ms_;
  std::atomic<bool> stop_{false};
  MlflowServer server_;
  MetricsReader reader_;

  // Of the thread alone, until it has ended.
  TrackedRun remembered_;
  bool announced_ = false;          // RUNNING and this attempt's tags
  bool asked_ = false;              // to create the run, and no answer came
  std::vector<MetricsLine> lines_;  // read and not sent
  absl::Status failure_;            // of the newest call
  bool told_ = false;               // of the trouble that there is

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool more_ = true;
  bool ended_ = false;  // the thread
  bool idle_ = false;   // it has sent all that there was
  std::optional<RunEnd> end_;
  int64_t end_ms_ = 0;
  std::vector<std::string> notes_;
  std::thread thread_;
};

}  // namespace galleon

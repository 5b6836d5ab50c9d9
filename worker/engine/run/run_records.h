// What a run leaves behind of its steps and evaluations, by rank 0: metrics.jsonl, and where they are asked for
// TensorBoard's files and an MLflow server that is told.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/run/metrics_file.h"
#include "worker/engine/run/run_observer.h"
#include "worker/engine/run/tensorboard_file.h"
#include "worker/engine/run/training.h"
#include "worker/engine/tracking/mlflow_tracker.h"

namespace galleon {

class RunRecords {
 public:
  // What can be wrong before anything is known of the run: INVALID_ARGUMENT.
  absl::Status check(const RunOptions& options, const RunContext& context);
  // The run goes on behind `step` (0: begins): what the files say of later ones is dropped.
  absl::Status open(const RunOptions& options, const RunContext& context, int64_t step);
  void add(const StepLine& line) { add_line(line); }
  void add(const EvaluationLine& line) { add_line(line); }
  // Of all files that were written.
  const absl::Status& status() const { return status_; }
  // What the tracker has to say since the last call. Whether it had.
  bool tell(RunObserver& observer);
  // All steps are done.
  absl::Status finish();
  // The run of so many ranks ends, with this result. Waits for a tracker for at most half a minute; what it could not
  // send, in words; empty: nothing.
  std::string end(const absl::StatusOr<RunResult>& result, int ranks, RunObserver& observer);

 private:
  absl::Status start_tracker(const RunOptions& options, const RunContext& context);

  template <typename Line>
  void add_line(const Line& line) {
    if (metrics_.has_value()) status_.Update(metrics_->append(line));
    if (tensorboard_.has_value()) status_.Update(tensorboard_->append(line));
    if (tracker_ != nullptr) tracker_->more();
  }

  std::optional<MetricsFile> metrics_;
  std::optional<TensorboardFile> tensorboard_;
  std::optional<MlflowAccess> access_;
  std::unique_ptr<MlflowTracker> tracker_;
  absl::Status status_;
};

}  // namespace galleon

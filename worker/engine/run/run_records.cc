#include "worker/engine/run/run_records.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/run/hyperparameters.h"

namespace galleon {

namespace {

std::string beside(const std::string& metrics_path, const char* name) {
  return (std::filesystem::path(metrics_path).parent_path() / name).string();
}

// How long an end waits for a tracking server. Whoever has asked a run to stop gives it half a minute for all that it
// has to do, and where one of several ranks has failed the others are ended after two seconds.
absl::Duration patience_with(RunEnd end, int ranks) {
  if (end == RunEnd::kFinished) return absl::Seconds(30);
  return end == RunEnd::kKilled || ranks == 1 ? absl::Seconds(5) : absl::Seconds(1);
}

}  // namespace

absl::Status RunRecords::check(const RunOptions& options, const RunContext& context) {
  if (!options.tracking.has_value()) return absl::OkStatus();
  ASSIGN_OR_RETURN(access_, mlflow_access(options.tracking->mlflow, context.environment));
  return absl::OkStatus();
}

absl::Status RunRecords::open(const RunOptions& options, const RunContext& context, int64_t step) {
  ASSIGN_OR_RETURN(metrics_, MetricsFile::open(context.metrics_path, step, context.clock));
  if (options.tensorboard && step < options.steps) {
    ASSIGN_OR_RETURN(tensorboard_,
                     TensorboardFile::open(beside(context.metrics_path, "tensorboard"), step, options, context.clock));
  }
  return access_.has_value() ? start_tracker(options, context) : absl::OkStatus();
}

absl::Status RunRecords::start_tracker(const RunOptions& options, const RunContext& context) {
  MlflowRun run;
  run.experiment = options.tracking->experiment;
  run.name = options.tracking->run_name;
  run.mathematics = options.mathematics;
  run.subspaces = options.optimizer.galore.has_value();
  for (const auto& [key, value] : options.hyperparameters) run.parameters.emplace_back(key, hyperparameter_text(value));
  run.tags = {{"mlflow.source.name", "galleon"},
              {"mlflow.source.type", "JOB"},
              {"galleon.version", GALLEON_VERSION},
              {"galleon.job", options.name}};
  run.tags.insert(run.tags.end(), context.tags.begin(), context.tags.end());
  run.metrics = context.metrics_path;
  run.memory = beside(context.metrics_path, "mlflow.json");
  ASSIGN_OR_RETURN(tracker_, MlflowTracker::start(*access_, run, context.clock, context.mlflow_pace));
  return absl::OkStatus();
}

bool RunRecords::tell(RunObserver& observer) {
  if (tracker_ == nullptr) return false;
  const std::vector<std::string> notes = tracker_->notes();
  for (const std::string& note : notes) observer.stage("tracking", note);
  return !notes.empty();
}

absl::Status RunRecords::finish() {
  return tensorboard_.has_value() ? tensorboard_->finish() : absl::OkStatus();
}

std::string RunRecords::end(const absl::StatusOr<RunResult>& result, int ranks, RunObserver& observer) {
  if (tracker_ == nullptr) return "";
  const RunEnd end = !result.ok() ? RunEnd::kFailed : result->stopped ? RunEnd::kKilled : RunEnd::kFinished;
  const absl::Duration patience = patience_with(end, ranks);
  tell(observer);
  if (tracker_->behind()) observer.stage("tracking", absl::StrCat("telling ", access_->address, " the rest"));
  std::string unsent = tracker_->finish(end, patience);
  tell(observer);
  if (!unsent.empty()) observer.stage("tracking", unsent);
  tracker_.reset();
  return unsent;
}

}  // namespace galleon

// A training run on one rank: data, engine, steps, evaluations, checkpoints, resume. Whoever runs it watches through an
// observer.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "worker/engine/data/shared_caches.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/ranks/communicator.h"
#include "worker/engine/run/metrics_file.h"
#include "worker/engine/run/resolved_job.h"
#include "worker/engine/run/run_observer.h"
#include "worker/engine/tracking/mlflow_tracker.h"

namespace galleon {

// Where checkpoints of earlier attempts may be taken from.
struct ResumePoint {
  // In a service: the newest publication that the scheduler recorded. Nothing newer is used, and a checkpoint that was
  // recorded but not renamed before its trainer died is renamed now. Unset: what lies in the folder counts (`galleon
  // train`). What an earlier attempt left whole and unpublished is published first.
  bool recorded_only = false;
  int64_t step = 0;
  uint64_t epoch = 0;
};

struct RunContext {
  uint64_t epoch = 0;        // of this attempt, in the names of unpublished checkpoints
  std::string metrics_path;  // written by rank 0
  ResumePoint resume;
  SharedCaches shared_caches;  // of tokens, among jobs
  std::function<absl::Time()> clock = absl::Now;
  // Where credentials for a tracking server are, and what else it is told of the attempt.
  Environment environment = process_environment;
  std::vector<std::pair<std::string, std::string>> tags;
  MlflowPace mlflow_pace;
};

struct RunResult {
  bool stopped = false;  // asked to stop; otherwise all steps are done
  std::string stop_reason;
  int64_t step = 0;
  double train_loss = 0;  // of the last step
  int64_t bad_rows = 0;   // of all data, skipped
  std::optional<EvaluationLine> evaluation;
  std::string unsent;  // what a tracking server was not told, in words
};

// INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION: would happen again. Others may be worth another attempt.
absl::StatusOr<RunResult> run_training(const RunOptions& options, ResolvedJob& job, Device& device,
                                       Communicator& communicator, const RunContext& context, RunObserver& observer);

}  // namespace galleon

// TensorBoard's event files, beside metrics.jsonl and with what it holds: one file for each time that a run begins or
// goes on.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/run/event_records.h"
#include "worker/engine/run/metrics_file.h"

namespace galleon {

class TensorboardFile {
 public:
  using Clock = std::function<absl::Time()>;

  // A new file in `folder` that is read after those that lie there, and takes back what they say of steps beyond `step`
  // (of all for 0). Of `options`: hyperparameters, and whether there are subspaces.
  static absl::StatusOr<TensorboardFile> open(const std::string& folder, int64_t step, const RunOptions& options,
                                              Clock clock);
  absl::Status append(const StepLine& line);
  absl::Status append(const EvaluationLine& line);
  // All steps are done.
  absl::Status finish();

 private:
  TensorboardFile(std::string path, bool subspaces, Clock clock)
      : path_(std::move(path)), subspaces_(subspaces), clock_(std::move(clock)) {}
  double now() const;
  absl::Status append_line(int64_t step, const nlohmann::ordered_json& line);
  absl::Status append_records(const std::string& records);
  std::string path_;
  bool subspaces_;
  Clock clock_;
};

}  // namespace galleon

// metrics.jsonl: a line for each logged step and each evaluation.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/ledger.h"
#include "worker/engine/ranks/sent_bytes.h"

namespace galleon {

struct StepLine {
  int64_t step = 0;
  double loss = 0;
  double learning_rate = 0;                           // of matrices
  std::vector<std::pair<std::string, double>> rates;  // of the rest, where they differ
  double grad_norm = 0;
  int64_t tokens = 0;
  double seconds = 0;
  double tokens_per_second = 0;
  int64_t memory[kMemoryCategories] = {};
  int64_t memory_peak = 0;
  SentBytes sent;
  int64_t dense_bytes = 0;  // what dense data parallelism would have sent in this step
  int64_t total_steps = 0;
  double refresh_seconds = 0;
  double subspace_overlap = 0;
  double captured_energy = 0;
  int64_t refreshed = 0;
  int64_t skipped_refreshes = 0;
  double data_wait_seconds = 0;  // that the engine waited for data since the last logged step
  int64_t bad_rows = 0;          // of all data, skipped so far
  // By rank: seconds since the last logged step in which it waited for others. They wait for the one that waits least.
  // Empty with one rank.
  std::vector<double> waited_seconds;
  // Since this process began.
  std::vector<double> waited_total;  // as waited_seconds
  SentBytes sent_total;
  int64_t dense_total_bytes = 0;
  double refresh_seconds_total = 0;
  double step_seconds_total = 0;
  double data_wait_seconds_total = 0;
  int64_t attempt_steps = 0;
};

struct EvaluationLine {
  int64_t step = 0;
  double validation_loss = 0;
  int64_t validation_tokens = 0;
  std::map<std::string, double> metrics;  // of the task
  double perplexity() const;
};

// Of their lines, all but the time.
nlohmann::ordered_json metrics_json(const StepLine& line);
nlohmann::ordered_json metrics_json(const EvaluationLine& line);

class MetricsFile {
 public:
  using Clock = std::function<absl::Time()>;
  // Opens for appending and drops lines beyond `step` (all of them for 0). A line says when it was written, in seconds
  // since 1970.
  static absl::StatusOr<MetricsFile> open(const std::string& path, int64_t step, Clock clock);
  absl::Status append(const StepLine& line);
  absl::Status append(const EvaluationLine& line);

 private:
  MetricsFile(std::string path, Clock clock) : path_(std::move(path)), clock_(std::move(clock)) {}
  absl::Status append_line(nlohmann::ordered_json line);
  std::string path_;
  Clock clock_;
};

}  // namespace galleon

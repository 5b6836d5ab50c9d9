// What is remembered of a run at a tracking server, in the run's folder: which it is there, and how far it was told.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace galleon {

struct TrackedRun {
  std::string address;
  std::string experiment;
  // What was computed. Where it is another, so is the run.
  std::string mathematics;
  // Ours for the run, among its tags: by it the run is found where the answer to its creation was lost.
  std::string key;
  std::string run_id;  // the server's; empty: there is none yet
  std::string experiment_id;
  bool parameters_sent = false;
  // The newest that the server has taken; 0: none.
  int64_t step = 0;
  int64_t evaluation = 0;
  std::string status;  // that the server was told last

  // Of the line of a step or of an evaluation.
  bool has(int64_t line_step, bool is_evaluation) const { return line_step <= (is_evaluation ? evaluation : step); }
};

// NOT_FOUND: none is remembered.
absl::StatusOr<TrackedRun> read_tracked_run(const std::string& path);
absl::Status write_tracked_run(const std::string& path, const TrackedRun& run);

}  // namespace galleon

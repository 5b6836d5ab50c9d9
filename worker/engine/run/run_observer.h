// Whoever runs a training watches it, and stops it, through one of these.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "worker/engine/run/engine.h"
#include "worker/engine/run/metrics_file.h"

namespace galleon {

class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void stage(const std::string& name, const std::string& detail) = 0;
  virtual void allocated(const Engine& engine) = 0;
  // After every step.
  virtual void stepped(int64_t step) = 0;
  virtual void logged(const StepLine& line) = 0;
  virtual void evaluated(const EvaluationLine& line) = 0;
  // Asked by rank 0 before a checkpoint is renamed.
  virtual absl::Status approve_checkpoint(int64_t step, const std::string& folder) = 0;
  virtual void published(int64_t step, const std::string& folder) = 0;
  // A reason to stop at the end of this step, with a checkpoint. Asked on every rank after every step.
  virtual std::optional<std::string> stop_requested() = 0;
};

}  // namespace galleon

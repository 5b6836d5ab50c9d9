// Which checkpoint a run continues from, and whether it may.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/run/training.h"

namespace galleon {

struct ResumeChoice {
  std::string folder;
  CheckpointHeader header;
  std::string skipped;  // why newer ones were passed over; empty if none were
};

// Of a checkpoint that was chosen: what checkpoint.resume_with_changed_data let pass, for the manifests to come; empty:
// the data is what it was.
std::string data_change(const CheckpointHeader& header, const RunOptions& options);

// A collective: rank 0 looks and tells the others. `resume: auto` takes the newest complete checkpoint; a damaged one
// is set aside by name and the next older one is taken. nullopt: start from the beginning. FAILED_PRECONDITION: another
// job's folder, other mathematics, another schedule, `never` with checkpoints in the way.
// `epoch`: of this attempt. `gate`: of what is published.
absl::StatusOr<std::optional<ResumeChoice>> choose_checkpoint(const RunOptions& options, const ResumePoint& point,
                                                              uint64_t epoch, const PublicationGate& gate,
                                                              Communicator& communicator);

}  // namespace galleon

// Whether the adapters of a run go on the folder that its model came from, as the package peft puts them there.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/ranks/communicator.h"
#include "worker/engine/run/resolved_job.h"

namespace galleon {

// Why the folder and the adapters would not make the model that is trained, so that checkpoints hold merged weights
// alone; empty: they do. model.source must be what it was when the run began; where it goes on from `step_folder` (else
// empty), the frozen weights there are compared, a matrix at a time. A collective: rank 0 says.
absl::StatusOr<std::string> why_no_adapters(const RunOptions& options, const ResolvedJob& job,
                                            const std::vector<Parameter>& parameters, const std::string& step_folder,
                                            Communicator& communicator);

}  // namespace galleon

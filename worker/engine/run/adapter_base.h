// Whether the adapters of a run go on the folder that its model came from, as the package peft puts them there.
#pragma once

#include <string>
#include <vector>

#include "worker/engine/ground/parameters.h"
#include "worker/engine/run/resolved_job.h"

namespace galleon {

// Why the folder and the adapters would not make the model that is trained; empty: they do. model.source must be what
// it was when the run began.
std::string why_no_base(const RunOptions& options, const ResolvedJob& job);

// Of a run that goes on from `step_folder`: why the frozen weights there are not those that lie in model.source now;
// empty: they are. Reads both, a matrix at a time.
std::string why_another_base(const RunOptions& options, const std::vector<Parameter>& parameters,
                             const std::string& step_folder);

}  // namespace galleon

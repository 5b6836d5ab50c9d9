// The place where the engine reads the Job message; hyperparameters.h is a part of it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "galleon/v1/job.pb.h"
#include "worker/engine/ground/options.h"

namespace galleon {

// `job` is complete: defaults are filled in. `output` is the folder that a relative checkpoint.directory refers to.
RunOptions options_from_job(const v1::Job& job, const std::string& output);

// Everything that the computation depends on, one "key: value" a line: the job's keys that are neither operational nor
// paths, and the resolved shape. Lengths of the run and of its schedule are kept apart by the checkpoint.
std::string mathematics_of(const v1::Job& job);

// All of the job's keys but paths, likewise: what ranks that work together must have in common.
std::string job_lines(const v1::Job& job);

}  // namespace galleon

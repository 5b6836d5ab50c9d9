// What a model begins with where there is no checkpoint to go on from.
#pragma once

#include "absl/status/status.h"
#include "kernels/device.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/ranks/communicator.h"
#include "worker/engine/run/engine.h"
#include "worker/engine/run/resolved_job.h"
#include "worker/engine/run/run_observer.h"

namespace galleon {

// Weights of the job's folder, or random ones, and adapters beside them. A collective. Errors of reading the folder.
absl::Status initialize_model(const RunOptions& options, const ResolvedJob& job, Engine& engine, Device& device,
                              Communicator& communicator, RunObserver& observer);

}  // namespace galleon

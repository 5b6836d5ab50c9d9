// The ranks of a task that srun has started, in place of the options of `galleon train` that say the same by hand.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/commands.h"
#include "client/local_run.h"
#include "client/slurm.h"
#include "galleon/v1/job.pb.h"

namespace galleon {

std::string process_variables(const std::string& name);

// INVALID_ARGUMENT names an option, or a key of the job, that contradicts what Slurm says.
absl::Status check_slurm_options(const TrainArguments& arguments, const v1::Job& job, const SlurmTask& task);

// The one rank of a task among several. They meet in a folder of the output, which all share anyway.
absl::StatusOr<LocalRanks> slurm_ranks(const TrainArguments& arguments, const std::string& output,
                                       const SlurmTask& task);

// Of a task, also of one that is alone: it ends with a checkpoint in time, and takes signals as Slurm sends them.
void heed_time_limit(const SlurmTask& task, absl::Time now, LocalRanks& ranks);

// The first lines of the log: what was taken from Slurm.
std::string slurm_lines(const SlurmTask& task, const LocalRanks& ranks);

}  // namespace galleon

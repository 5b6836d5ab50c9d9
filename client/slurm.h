// What Slurm tells a task that srun has started: which rank it is, of how many, on which node, until when.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace galleon {

// The value of a variable of the environment; empty: it is not set.
using Variables = std::function<std::string(const std::string& name)>;

struct SlurmTask {
  std::string job;
  std::string step;
  int restart = 0;  // how often the job was put back into the queue
  int rank = 0;
  int ranks = 1;
  std::vector<std::string> nodes;  // of the step, in the order of ranks
  std::string node;                // this one
  int local_rank = 0;              // among the tasks of this node
  int local_ranks = 1;
  int threads = 0;                // processors of the task; 0: Slurm does not say
  int visible_gpus = -1;          // that Slurm lets this task see; -1: it does not say
  std::string launcher;           // address that srun runs at; empty: not told
  std::optional<absl::Time> end;  // of the job's time limit
};

// nullopt: this is no task of srun. INVALID_ARGUMENT names a variable that is missing, or contradicts another.
absl::StatusOr<std::optional<SlurmTask>> slurm_task(const Variables& variables);

// Which of the GPUs that a process sees is the task's, as "number of count": tasks that see fewer than there are of
// them on the node see their own, others share what they see by their number.
struct GpuShare {
  int number = 0;
  int count = 1;
};
GpuShare gpu_share(const SlurmTask& task);

// Until when a run may train: so long before the end of the time limit that a checkpoint can be written, a minute or,
// of a short time, a tenth. Infinite without a limit.
absl::Time training_end(const SlurmTask& task, absl::Time now);

}  // namespace galleon

#include "client/slurm.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/node_list.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr absl::Duration kForACheckpoint = absl::Minutes(1);

absl::Status wrong(absl::string_view name, absl::string_view value, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("srun's ", name, "=", value, " ", why, "; start it with srun, or unset SLURM_STEP_ID"));
}

absl::StatusOr<int> number(const Variables& variables, const std::string& name, int least) {
  const std::string text = variables(name);
  int value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < least)
    return wrong(name, text, absl::StrCat("is no number from ", least));
  return value;
}

// The first of them that is set.
std::string first_of(const Variables& variables, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (std::string value = variables(name); !value.empty()) return value;
  }
  return "";
}

absl::Status read_nodes(const Variables& variables, SlurmTask& task) {
  const std::string list = first_of(variables, {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"});
  if (list.empty()) return wrong("SLURM_STEP_NODELIST", list, "names no node");
  ASSIGN_OR_RETURN(task.nodes, expand_node_list(list));
  ASSIGN_OR_RETURN(const int index, number(variables, "SLURM_NODEID", 0));
  if (static_cast<size_t>(index) >= task.nodes.size())
    return wrong("SLURM_NODEID", absl::StrCat(index), absl::StrCat("is beyond the nodes ", list));
  task.node = task.nodes[index];
  const std::string name = variables("SLURMD_NODENAME");
  if (!name.empty() && name != task.node)
    return wrong("SLURMD_NODENAME", name, absl::StrCat("is not node ", index, " of ", list));
  const std::string tasks = first_of(variables, {"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"});
  if (tasks.empty()) return wrong("SLURM_STEP_TASKS_PER_NODE", tasks, "says nothing");
  ASSIGN_OR_RETURN(const std::vector<int> counts, expand_counts(tasks));
  if (counts.size() != task.nodes.size())
    return wrong("SLURM_STEP_TASKS_PER_NODE", tasks, absl::StrCat("does not fit the nodes ", list));
  int all = 0;
  for (const int count : counts) all += count;
  if (all != task.ranks)
    return wrong("SLURM_STEP_TASKS_PER_NODE", tasks, absl::StrCat("does not come to ", task.ranks, " tasks"));
  task.local_ranks = counts[index];
  ASSIGN_OR_RETURN(task.local_rank, number(variables, "SLURM_LOCALID", 0));
  if (task.local_rank >= task.local_ranks) {
    return wrong("SLURM_LOCALID", absl::StrCat(task.local_rank),
                 absl::StrCat("is beyond the ", task.local_ranks, " tasks of ", task.node));
  }
  return absl::OkStatus();
}

// Both are optional.
absl::Status read_share(const Variables& variables, SlurmTask& task) {
  if (!variables("SLURM_CPUS_PER_TASK").empty()) {
    ASSIGN_OR_RETURN(task.threads, number(variables, "SLURM_CPUS_PER_TASK", 1));
  } else if (!variables("SLURM_CPUS_ON_NODE").empty()) {
    ASSIGN_OR_RETURN(const int processors, number(variables, "SLURM_CPUS_ON_NODE", 1));
    task.threads = std::max(1, processors / task.local_ranks);
  }
  const bool gpus = !first_of(variables, {"SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE"}).empty();
  if (gpus) {
    const std::string visible = variables("CUDA_VISIBLE_DEVICES");
    const std::vector<absl::string_view> ids = absl::StrSplit(visible, ',', absl::SkipEmpty());
    task.visible_gpus = static_cast<int>(ids.size());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<SlurmTask>> slurm_task(const Variables& variables) {
  // A batch script has the job's variables too, and no step.
  const std::string step = first_of(variables, {"SLURM_STEP_ID", "SLURM_STEPID"});
  if (step.empty() || variables("SLURM_PROCID").empty()) return std::optional<SlurmTask>();
  SlurmTask task;
  task.step = step;
  task.job = first_of(variables, {"SLURM_JOB_ID", "SLURM_JOBID"});
  if (task.job.empty()) return wrong("SLURM_JOB_ID", "", "names no job");
  ASSIGN_OR_RETURN(task.rank, number(variables, "SLURM_PROCID", 0));
  ASSIGN_OR_RETURN(
      task.ranks,
      number(variables, variables("SLURM_STEP_NUM_TASKS").empty() ? "SLURM_NTASKS" : "SLURM_STEP_NUM_TASKS", 1));
  if (task.rank >= task.ranks)
    return wrong("SLURM_PROCID", absl::StrCat(task.rank), absl::StrCat("is beyond its ", task.ranks, " tasks"));
  if (!variables("SLURM_RESTART_COUNT").empty()) {
    ASSIGN_OR_RETURN(task.restart, number(variables, "SLURM_RESTART_COUNT", 0));
  }
  RETURN_IF_ERROR(read_nodes(variables, task));
  RETURN_IF_ERROR(read_share(variables, task));
  task.launcher = first_of(variables, {"SLURM_LAUNCH_NODE_IPADDR", "SLURM_SRUN_COMM_HOST"});
  const std::string end = variables("SLURM_JOB_END_TIME");
  if (!end.empty()) {
    int64_t seconds = 0;
    if (!absl::SimpleAtoi(end, &seconds) || seconds < 1)
      return wrong("SLURM_JOB_END_TIME", end, "is no time in seconds since 1970");
    task.end = absl::FromUnixSeconds(seconds);
  }
  return task;
}

GpuShare gpu_share(const SlurmTask& task) {
  if (task.visible_gpus >= 0 && task.visible_gpus < task.local_ranks) return {0, 1};
  return {task.local_rank, task.local_ranks};
}

absl::Time training_end(const SlurmTask& task, absl::Time now) {
  if (!task.end.has_value()) return absl::InfiniteFuture();
  return *task.end - std::min(kForACheckpoint, std::max(absl::ZeroDuration(), (*task.end - now) / 10));
}

}  // namespace galleon

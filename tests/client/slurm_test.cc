// What `galleon train` makes of the variables of a task of srun.
#include "client/slurm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "client/node_list.h"
#include "client/slurm_ranks.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(NodeList, IsExpandedExactly) {
  EXPECT_THAT(*expand_node_list("node[01-03,7],gpu1"), ElementsAre("node01", "node02", "node03", "node7", "gpu1"));
  EXPECT_THAT(*expand_node_list("a"), ElementsAre("a"));
  EXPECT_THAT(*expand_node_list("n[098-101]"), ElementsAre("n098", "n099", "n100", "n101"));
  EXPECT_THAT(*expand_node_list("n[8-11]"), ElementsAre("n8", "n9", "n10", "n11"));
  EXPECT_THAT(*expand_node_list("n[0-0]"), ElementsAre("n0"));
  EXPECT_THAT(*expand_node_list("r[1-2]n[01-02],login.example"),
              ElementsAre("r1n01", "r1n02", "r2n01", "r2n02", "login.example"));
  EXPECT_THAT(*expand_node_list("n[1,3]-ib,n_2"), ElementsAre("n1-ib", "n3-ib", "n_2"));
}

TEST(NodeList, WhatIsNoneIsRefusedByName) {
  for (const char* list : {"",
                           ",",
                           "a,",
                           ",a",
                           "a,,b",
                           "n[1-2",
                           "n1-2]",
                           "n[[1]]",
                           "n[1]]",
                           "n[]",
                           "n[1-]",
                           "n[-2]",
                           "n[a-b]",
                           "n[1-2-3]",
                           "n[3-1]",
                           "n 1",
                           "n[1, 2]",
                           "n$(x)",
                           "n[1-9999999]",
                           "n[1-99999999999]",
                           "a[0-2000]b[0-2000]"}) {
    const absl::Status status = expand_node_list(list).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << list;
    EXPECT_THAT(std::string(status.message()), testing::StartsWith("\"" + std::string(list) + "\" is no list")) << list;
  }
}

TEST(Counts, AreOneForEachNode) {
  EXPECT_THAT(*expand_counts("2"), ElementsAre(2));
  EXPECT_THAT(*expand_counts("2(x3),1"), ElementsAre(2, 2, 2, 1));
  for (const char* list : {"", "2(x3", "2(3)", "(x3)", "x", "2,", "-1", "2(x99999999)"})
    EXPECT_FALSE(expand_counts(list).ok()) << list;
}

// As Slurm 22.05 sets them for the third of three tasks on two nodes.
std::map<std::string, std::string> third_of_three() {
  return {{"SLURM_JOB_ID", "12"},
          {"SLURM_STEP_ID", "0"},
          {"SLURM_PROCID", "2"},
          {"SLURM_LOCALID", "0"},
          {"SLURM_NODEID", "1"},
          {"SLURMD_NODENAME", "n02"},
          {"SLURM_NTASKS", "3"},
          {"SLURM_STEP_NUM_TASKS", "3"},
          {"SLURM_STEP_NODELIST", "n[01-02]"},
          {"SLURM_STEP_TASKS_PER_NODE", "2,1"},
          {"SLURM_CPUS_ON_NODE", "4"},
          {"SLURM_LAUNCH_NODE_IPADDR", "10.77.0.1"},
          {"SLURM_RESTART_COUNT", "1"},
          {"SLURM_JOB_END_TIME", "1700003600"}};
}

absl::StatusOr<std::optional<SlurmTask>> task_of(const std::map<std::string, std::string>& variables) {
  return slurm_task([&](const std::string& name) {
    const auto found = variables.find(name);
    return found == variables.end() ? "" : found->second;
  });
}

TEST(SlurmTask, IsReadFromItsVariables) {
  const auto task = task_of(third_of_three());
  ASSERT_TRUE(task.ok()) << task.status();
  ASSERT_TRUE(task->has_value());
  EXPECT_EQ((*task)->job, "12");
  EXPECT_EQ((*task)->rank, 2);
  EXPECT_EQ((*task)->ranks, 3);
  EXPECT_THAT((*task)->nodes, ElementsAre("n01", "n02"));
  EXPECT_EQ((*task)->node, "n02");
  EXPECT_EQ((*task)->local_rank, 0);
  EXPECT_EQ((*task)->local_ranks, 1);
  EXPECT_EQ((*task)->threads, 4);
  EXPECT_EQ((*task)->restart, 1);
  EXPECT_EQ((*task)->launcher, "10.77.0.1");
  EXPECT_EQ(*(*task)->end, absl::FromUnixSeconds(1700003600));
  std::map<std::string, std::string> more = third_of_three();
  more["SLURM_CPUS_PER_TASK"] = "3";
  EXPECT_EQ((*task_of(more))->threads, 3);
}

TEST(SlurmTask, IsNoneOutsideOfSrun) {
  EXPECT_FALSE(task_of({})->has_value());
  // A batch script has all but a step.
  std::map<std::string, std::string> script = third_of_three();
  script.erase("SLURM_STEP_ID");
  EXPECT_FALSE(task_of(script)->has_value());
}

TEST(SlurmTask, WhatIsMissingOrContradictsAnotherIsNamed) {
  const std::vector<std::pair<const char*, const char*>> wrong = {{"SLURM_JOB_ID", ""},
                                                                  {"SLURM_PROCID", "3"},
                                                                  {"SLURM_PROCID", "x"},
                                                                  {"SLURM_NODEID", "2"},
                                                                  {"SLURM_NODEID", ""},
                                                                  {"SLURM_LOCALID", "1"},
                                                                  {"SLURM_LOCALID", ""},
                                                                  {"SLURMD_NODENAME", "n03"},
                                                                  {"SLURM_STEP_NODELIST", ""},
                                                                  {"SLURM_STEP_NUM_TASKS", "0"},
                                                                  {"SLURM_RESTART_COUNT", "-1"},
                                                                  {"SLURM_JOB_END_TIME", "soon"},
                                                                  {"SLURM_CPUS_ON_NODE", "0"},
                                                                  {"SLURM_STEP_TASKS_PER_NODE", "3"},
                                                                  {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"}};
  for (const auto& [name, value] : wrong) {
    std::map<std::string, std::string> variables = third_of_three();
    variables[name] = value;
    const auto task = task_of(variables);
    EXPECT_EQ(task.status().code(), absl::StatusCode::kInvalidArgument) << name << "=" << value;
    EXPECT_THAT(std::string(task.status().message()), HasSubstr(absl::StrCat(name, "=", value))) << name;
  }
  std::map<std::string, std::string> variables = third_of_three();
  variables["SLURM_STEP_NODELIST"] = "n[01-";
  EXPECT_THAT(std::string(task_of(variables).status().message()), HasSubstr("\"n[01-\""));
}

TEST(SlurmTask, TakesItsOwnGpusOrSharesThoseOfTheNodeByItsNumber) {
  SlurmTask task;
  task.local_rank = 2;
  task.local_ranks = 4;
  EXPECT_EQ(gpu_share(task).number, 2) << "Slurm does not manage GPUs here";
  EXPECT_EQ(gpu_share(task).count, 4);
  task.visible_gpus = 4;
  EXPECT_EQ(gpu_share(task).number, 2) << "all tasks see all";
  task.visible_gpus = 1;
  EXPECT_EQ(gpu_share(task).number, 0) << "--gpus-per-task 1";
  EXPECT_EQ(gpu_share(task).count, 1);
}

TEST(SlurmTask, LeavesTimeForACheckpoint) {
  const absl::Time now = absl::FromUnixSeconds(1700000000);
  SlurmTask task;
  EXPECT_EQ(training_end(task, now), absl::InfiniteFuture());
  task.end = now + absl::Hours(1);
  EXPECT_EQ(training_end(task, now), now + absl::Minutes(59));
  task.end = now + absl::Minutes(5);
  EXPECT_EQ(training_end(task, now), now + absl::Seconds(270));
  task.end = now - absl::Minutes(5);
  EXPECT_EQ(training_end(task, now), *task.end);
}

TEST(SlurmTask, OptionsThatContradictItAreRefusedByName) {
  const SlurmTask task = **task_of(third_of_three());
  v1::Job job;
  job.mutable_parallel()->set_ranks(1);
  TrainArguments arguments;
  EXPECT_TRUE(check_slurm_options(arguments, job, task).ok());
  arguments.ranks = 3;
  EXPECT_TRUE(check_slurm_options(arguments, job, task).ok());
  arguments.ranks = 2;
  EXPECT_EQ(check_slurm_options(arguments, job, task).message(),
            "--ranks 2 contradicts srun, which has started 3 tasks; leave it out");
  arguments.ranks = 0;
  job.mutable_parallel()->set_ranks(2);
  EXPECT_EQ(check_slurm_options(arguments, job, task).message(),
            "parallel.ranks: 2 contradicts srun, which has started 3 tasks; leave it out");
  job.mutable_parallel()->set_ranks(3);
  EXPECT_TRUE(check_slurm_options(arguments, job, task).ok());
  for (std::string TrainArguments::*option :
       {&TrainArguments::here, &TrainArguments::meet, &TrainArguments::secret_file}) {
    TrainArguments given;
    given.*option = "x";
    EXPECT_THAT(std::string(check_slurm_options(given, job, task).message()), HasSubstr("contradicts srun"));
  }
}

}  // namespace
}  // namespace galleon

// What the subcommands of `galleon` do. Each returns the exit code of the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/output.h"

namespace galleon {

struct TrainArguments {
  std::string job;
  std::string output;
  int ranks = 0;    // 0: the job file's
  int threads = 0;  // of each rank; 0: the machine's cores over the ranks
};
int run_train(const TrainArguments& arguments);
int run_plan(const std::string& job, OutputFormat format);
// `galleon-trainer` with the same arguments: evaluate, generate, tokenize.
int run_trainer(const std::vector<std::string>& arguments);

struct Remote {
  std::string server;
  OutputFormat format = OutputFormat::kTable;
};

struct SubmitArguments {
  std::string job;
  std::string request_id;  // empty: drawn
  bool validate_only = false;
  bool watch = false;
  bool wait = false;
};
int run_submit(const Remote& remote, const SubmitArguments& arguments);
int run_list(const Remote& remote, const std::vector<std::string>& states);
int run_get(const Remote& remote, const std::string& job);
int run_watch(const Remote& remote, const std::string& job);
int run_logs(const Remote& remote, const std::string& job, uint32_t attempt, uint32_t rank, bool follow);
int run_cancel(const Remote& remote, const std::string& job, const std::string& reason);
// 0, 1, 2 for SUCCEEDED, FAILED, CANCELLED; 3 when `timeout_seconds` (0: none) have passed.
int run_wait(const Remote& remote, const std::string& job, double timeout_seconds);
int run_workers(const Remote& remote);
// Results of several jobs side by side.
int run_compare(const Remote& remote, const std::vector<std::string>& jobs);
int run_attempts(const Remote& remote, const std::string& job);

// Prints "galleon: MESSAGE" for each line on standard error and returns 1.
int fail(const std::string& message);
// galleon-trainer beside this program, or GALLEON_TRAINER.
std::string trainer_path();

}  // namespace galleon

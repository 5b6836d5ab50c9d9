// A service of real processes on this machine for one test: a scheduler, workers, a tiny job. Everything that it starts
// is ended by its id.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/process.h"
#include "tests/patience.h"

namespace galleon {

using Json = nlohmann::json;

inline std::string program(const std::string& name) {
  return std::string(GALLEON_BINARY_DIR) + "/" + name;
}

class Service {
 public:
  Service() {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = absl::StrCat(testing::TempDir(), "galleon-", info->name(), "-", ::getpid());
    std::filesystem::remove_all(folder_);
    EXPECT_TRUE(make_folders(inputs()).ok());
    std::string text;
    for (int i = 0; i < 2500; ++i)
      absl::StrAppend(&text, i % 7 == 3 ? "the sea was calm, " : "and the ship went on; ",
                      i % 11 == 5 ? "night came. " : "");
    EXPECT_TRUE(write_file_atomically(inputs() + "/text.txt", text).ok());
  }

  ~Service() {
    // The scheduler last, so that workers can take their leave.
    for (const bool scheduler : {false, true}) {
      for (auto& [name, process] : running_) {
        if ((name == "scheduler") == scheduler) ::kill(process.pid, SIGCONT), ::kill(process.pid, SIGTERM);
      }
      for (auto& [name, process] : running_) {
        if ((name == "scheduler") == scheduler) end(name, process);
      }
    }
    for (const ProcessId& trainer : trainers_seen_) {
      EXPECT_FALSE(process_alive(trainer)) << "a trainer was left running";
      signal_process_group(trainer, SIGKILL);
    }
    if (testing::Test::HasFailure()) {
      for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
        if (entry.path().extension() != ".log") continue;
        absl::StatusOr<std::string> tail = read_file_tail(entry.path().string(), 1500);
        std::fprintf(stderr, "--- %s\n%s", entry.path().c_str(), tail.ok() ? tail->c_str() : "");
      }
      return;
    }
    std::filesystem::remove_all(folder_);
  }

  std::string lease = "6s";  // of the next scheduler

  const std::string& folder() const { return folder_; }
  // What jobs may read.
  std::string inputs() const { return folder_ + "/inputs"; }

  // Starts the scheduler, on the port that it had before if it ran before.
  void start_scheduler(const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {program("galleon-scheduler"),
                                        "--data",
                                        folder_ + "/scheduler",
                                        "--listen",
                                        server_.empty() ? "127.0.0.1:0" : server_,
                                        "--metrics",
                                        "127.0.0.1:0",
                                        "--ready-file",
                                        folder_ + "/scheduler.json",
                                        "--lease",
                                        lease};
    command.insert(command.end(), more.begin(), more.end());
    start("scheduler", command);
    const Json ready = await_ready("scheduler");
    server_ = ready.value("listen", "");
    metrics_["scheduler"] = ready.value("metrics", "");
  }

  void start_worker(const std::string& name, int slots = 1, const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {program("galleon-worker"),
                                        "--server",
                                        server_,
                                        "--name",
                                        name,
                                        "--data",
                                        folder_ + "/" + name,
                                        "--slots",
                                        std::to_string(slots),
                                        "--allow",
                                        inputs(),
                                        "--metrics",
                                        "127.0.0.1:0",
                                        "--ready-file",
                                        absl::StrCat(folder_, "/", name, ".json"),
                                        "--threads",
                                        "1"};
    command.insert(command.end(), more.begin(), more.end());
    start(name, command);
    metrics_[name] = await_ready(name).value("metrics", "");
  }

  // Writes a job file; `more` replaces or adds top-level keys of the training section's lines.
  std::string job_file(const std::string& name, int steps, int ranks, const std::string& more = "") {
    const std::string path = absl::StrCat(folder_, "/", name, ".yaml");
    const std::string yaml = absl::StrCat(
        "name: ", name, "\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\n",
        "data: {train: [inputs/text.txt], validation: [inputs/text.txt], sequence_length: 32}\n",
        "optimizer:\n  learning_rate: 0.01\n  galore: {rank: 8, refresh_interval: 20}\n", "training: {steps: ", steps,
        ", global_batch: 4, micro_batch: 2, log_every: 1, evaluate_every: 50, evaluate_tokens: 1024}\n",
        "parallel: {ranks: ", ranks, "}\ncheckpoint: {every: 40}\n", more);
    EXPECT_TRUE(write_file_atomically(path, yaml).ok());
    return path;
  }

  // Runs `galleon` against this service.
  CommandResult galleon(std::vector<std::string> arguments, absl::Duration timeout = kPatience) {
    arguments.insert(arguments.begin(), program("galleon"));
    ::setenv("GALLEON_SERVER", server_.c_str(), 1);
    absl::StatusOr<CommandResult> result = run_command(arguments, timeout);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_FALSE(result->timed_out) << arguments[1];
    return *std::move(result);
  }

  std::string submit(const std::string& file) {
    const CommandResult result = galleon({"submit", file, "-o", "json"});
    EXPECT_EQ(result.exit.code, 0) << result.err;
    return Json::parse(result.out, nullptr, false).value("job_id", "");
  }

  Json get(const std::string& job) { return Json::parse(galleon({"get", job, "-o", "json"}).out, nullptr, false); }

  static uint64_t step_of(const Json& record) {
    if (!record.is_object() || !record.contains("progress") || !record["progress"].is_object()) return 0;
    return std::stoull(record["progress"].value("step", "0"));
  }

  // Waits until the job runs an attempt of at least this number and has logged at least this step.
  bool await_step(const std::string& job, uint64_t step, int attempt = 1) {
    for (const absl::Time end = absl::Now() + kPatience; absl::Now() < end;) {
      const Json record = get(job);
      remember_trainers();
      const std::string state = record.value("state", "");
      if (state == "FAILED" || state == "SUCCEEDED" || state == "CANCELLED") return false;
      if (state == "RUNNING" && record.value("attempts", 0) >= attempt && step_of(record) >= step) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }

  // Trainer processes of this service (their command lines name its folder).
  std::vector<ProcessId> trainers() {
    std::vector<ProcessId> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      absl::StatusOr<std::string> command = read_file(entry.path().string() + "/cmdline");
      if (!command.ok() || !absl::StartsWith(*command, program("galleon-trainer")) ||
          !absl::StrContains(*command, folder_))
        continue;
      const pid_t pid = std::stoi(name);
      if (const std::optional<uint64_t> ticks = process_start_ticks(pid)) found.push_back({pid, *ticks});
    }
    return found;
  }

  void remember_trainers() {
    for (const ProcessId& trainer : trainers()) {
      if (std::find(trainers_seen_.begin(), trainers_seen_.end(), trainer) == trainers_seen_.end())
        trainers_seen_.push_back(trainer);
    }
  }

  void signal(const std::string& name, int signal) { ::kill(running_.at(name).pid, signal); }

  // SIGKILL, and reaped.
  void kill(const std::string& name) {
    signal(name, SIGKILL);
    absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(running_.at(name).pid, kPatience);
    EXPECT_TRUE(exit.ok() && exit->has_value());
    running_.erase(name);
    std::filesystem::remove(absl::StrCat(folder_, "/", name, ".json"));
  }

  // SIGTERM; the exit code.
  int stop(const std::string& name) {
    signal(name, SIGTERM);
    absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(running_.at(name).pid, kPatience);
    running_.erase(name);
    std::filesystem::remove(absl::StrCat(folder_, "/", name, ".json"));
    return exit.ok() && exit->has_value() && (*exit)->signal == 0 ? (*exit)->code : -1;
  }

  // Losses by step of a metrics.jsonl; a step that is there twice is an error.
  static std::map<int64_t, double> losses(const std::string& path) {
    std::map<int64_t, double> found;
    absl::StatusOr<std::string> text = read_file(path);
    EXPECT_TRUE(text.ok()) << text.status();
    if (!text.ok()) return found;
    for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
      const Json json = Json::parse(line.begin(), line.end(), nullptr, false);
      EXPECT_TRUE(json.is_object()) << line;
      if (!json.contains("loss")) continue;
      EXPECT_TRUE(found.emplace(json["step"].get<int64_t>(), json["loss"].get<double>()).second)
          << "step twice: " << line;
    }
    return found;
  }

  // The losses of the same job file without the service.
  std::map<int64_t, double> undisturbed_losses(const std::string& file) {
    const std::string output = folder_ + "/undisturbed";
    const CommandResult result = galleon({"train", file, "--output", output, "--threads", "1"});
    EXPECT_EQ(result.exit.code, 0) << result.err;
    return losses(output + "/metrics.jsonl");
  }

  std::string metrics_address(const std::string& name) const { return metrics_.at(name); }
  const std::string& server() const { return server_; }
  pid_t process(const std::string& name) const { return running_.at(name).pid; }

  void start(const std::string& name, const std::vector<std::string>& command) {
    ProcessOptions options;
    options.command = command;
    options.stdout_path = absl::StrCat(folder_, "/", name, ".log");
    options.stderr_path = options.stdout_path;
    absl::StatusOr<ProcessId> process = start_process(options);
    ASSERT_TRUE(process.ok()) << process.status();
    running_[name] = *process;
  }

 private:
  static void end(const std::string& name, const ProcessId& process) {
    absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process.pid, kPatience);
    if (exit.ok() && exit->has_value()) return;
    ADD_FAILURE() << name << " did not end on SIGTERM";
    signal_process_group(process, SIGKILL);
    (void)wait_process(process.pid, absl::Seconds(5));
  }

  Json await_ready(const std::string& name) {
    const std::string path = absl::StrCat(folder_, "/", name, ".json");
    Json ready;
    EXPECT_TRUE(eventually([&] {
      ready = Json::parse(read_file(path).value_or(""), nullptr, false);
      if (!ready.is_object()) ready = Json::object();
      return ready.value("pid", 0) == running_[name].pid || !process_alive(running_[name]);
    }));
    EXPECT_EQ(ready.value("pid", 0), running_[name].pid) << name << " did not become ready";
    return ready;
  }

  std::string folder_;
  std::string server_;
  std::map<std::string, ProcessId> running_;
  std::map<std::string, std::string> metrics_;
  std::vector<ProcessId> trainers_seen_;
};

}  // namespace galleon

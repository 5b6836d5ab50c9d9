// The galleon executable in a folder of its own for one test.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/process.h"
#include "tests/patience.h"

namespace galleon {

inline std::string program(const std::string& name) {
  return std::string(GALLEON_BINARY_DIR) + "/" + name;
}

class GalleonProgram : public testing::Test {
 protected:
  GalleonProgram() {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = info->name();
    std::replace(name.begin(), name.end(), '/', '-');
    folder_ = absl::StrCat(testing::TempDir(), "galleon-", name, "-", ::getpid());
    std::filesystem::remove_all(folder_);
    EXPECT_TRUE(make_folders(folder_).ok());
    std::string text;
    for (int i = 0; i < 2500; ++i)
      absl::StrAppend(&text, i % 7 == 3 ? "the sea was calm, " : "and the ship went on; ",
                      i % 11 == 5 ? "night came. " : "");
    EXPECT_TRUE(write_file_atomically(folder_ + "/text.txt", text).ok());
  }
  ~GalleonProgram() override {
    if (process_.pid != 0) {
      signal_process_group(process_, SIGKILL);
      (void)wait_process(process_.pid, kPatience);
    }
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }

  // A byte-level job that takes a moment.
  std::string job_file(const std::string& name, int steps, const std::string& training = "",
                       const std::string& more = "") {
    const std::string path = absl::StrCat(folder_, "/", name, ".yaml");
    const std::string yaml = absl::StrCat(
        "name: ", name, "\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\n",
        "data: {train: [text.txt], sequence_length: 32}\n",
        "optimizer: {learning_rate: 0.01, galore: {rank: 8, refresh_interval: 20}, schedule: {steps: 10000}}\n",
        "training: {steps: ", steps, ", global_batch: 4, micro_batch: 2, log_every: 1, evaluate_every: 0", training,
        "}\n", more);
    EXPECT_TRUE(write_file_atomically(path, yaml).ok());
    return path;
  }

  CommandResult galleon(std::vector<std::string> arguments, absl::Duration timeout = kPatience) {
    const std::string first = arguments.empty() ? "" : arguments[0];
    arguments.insert(arguments.begin(), program("galleon"));
    absl::StatusOr<CommandResult> result = run_command(arguments, timeout);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return {};
    EXPECT_FALSE(result->timed_out) << first;
    return *std::move(result);
  }

  // Starts galleon; its output goes to out.log and err.log.
  void start(std::vector<std::string> arguments) {
    ProcessOptions options;
    arguments.insert(arguments.begin(), program("galleon"));
    options.command = arguments;
    options.stdout_path = folder_ + "/out.log";
    options.stderr_path = folder_ + "/err.log";
    absl::StatusOr<ProcessId> process = start_process(options);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *process;
  }
  void send(int signal) { ::kill(process_.pid, signal); }
  // Its exit code, or 128 and more for a signal; -1 when it does not end.
  int await_end() {
    absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process_.pid, kPatience);
    if (!exit.ok() || !exit->has_value()) return -1;
    process_ = {};
    return (*exit)->signal != 0 ? 128 + (*exit)->signal : (*exit)->code;
  }
  std::string text_of(const std::string& name) const { return read_file(folder_ + "/" + name).value_or(""); }

  // Losses by step of a metrics.jsonl; a step that is there twice is an error.
  static std::map<int64_t, double> losses(const std::string& output) {
    std::map<int64_t, double> found;
    const std::string text = read_file(output + "/metrics.jsonl").value_or("");
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      const nlohmann::json json = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
      if (!json.is_object() || !json.contains("loss")) continue;
      EXPECT_TRUE(found.emplace(json["step"].get<int64_t>(), json["loss"].get<double>()).second)
          << "step twice: " << line;
    }
    return found;
  }
  static bool await_step(const std::string& output, int64_t step) {
    return eventually([&] {
      const std::map<int64_t, double> known = losses(output);
      return !known.empty() && known.rbegin()->first >= step;
    });
  }
  static std::vector<std::string> checkpoints(const std::string& output) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(output + "/checkpoints", error))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string folder_;
  ProcessId process_;
};

}  // namespace galleon

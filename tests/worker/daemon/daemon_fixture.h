// galleon-worker as a process, against a scheduler and trainers that the test controls.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/process.h"
#include "tests/worker/daemon/fake_scheduler.h"
#include "tests/worker/daemon/scrape.h"
#include "worker/daemon/process_group.h"

namespace galleon {

inline constexpr auto kExited = v1::RankReport::EXITED;
inline constexpr auto kRunning = v1::RankReport::RUNNING;

class DaemonTest : public testing::Test {
 protected:
  DaemonTest() {
    folder_ = std::filesystem::canonical(testing::TempDir()).string() + "/daemon-" + random_hex(4);
    for (const char* name : {"/jobs", "/inputs", "/outside"}) EXPECT_TRUE(make_folders(folder_ + name).ok());
    EXPECT_TRUE(write_file_atomically(folder_ + "/inputs/text.txt", "text").ok());
    EXPECT_TRUE(write_file_atomically(folder_ + "/outside/secret.txt", "secret").ok());
    scheduler_.jobs_folder = folder_ + "/jobs";
  }

  ~DaemonTest() override {
    end(SIGKILL);
    for (const ProcessId& group : groups()) signal_process_group(group, SIGKILL);
    if (HasFailure()) std::cout << read_file(folder_ + "/daemon.log").value_or("");
    std::filesystem::remove_all(folder_);
  }

  void start(std::vector<std::string> more = {}) {
    ASSERT_FALSE(daemon_.has_value());
    std::filesystem::remove(ready_file());
    ProcessOptions options;
    options.command = command(more);
    options.stderr_path = folder_ + "/daemon.log";
    options.environment = environment_;
    absl::StatusOr<ProcessId> process = start_process(options);
    ASSERT_TRUE(process.ok()) << process.status();
    daemon_ = *process;
    ASSERT_TRUE(eventually([this] { return std::filesystem::exists(ready_file()); }))
        << *read_file(folder_ + "/daemon.log");
  }

  std::vector<std::string> command(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {GALLEON_BINARY_DIR "/galleon-worker",
                                      "--server",
                                      scheduler_.address(),
                                      "--name",
                                      "w1",
                                      "--data",
                                      folder_ + "/data",
                                      "--slots",
                                      "2",
                                      "--allow",
                                      folder_ + "/inputs",
                                      "--metrics",
                                      "127.0.0.1:0",
                                      "--ready-file",
                                      ready_file(),
                                      "--trainer",
                                      trainer_};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // Sends a signal; SIGKILL and SIGTERM wait for the end.
  ProcessExit end(int signal) {
    if (!daemon_.has_value()) return {};
    ::kill(daemon_->pid, signal);
    absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(daemon_->pid, kPatience);
    EXPECT_TRUE(exit.ok() && exit->has_value());
    daemon_.reset();
    return exit.ok() ? exit->value_or(ProcessExit{}) : ProcessExit{};
  }

  // The supervisors that the daemon recorded.
  std::vector<ProcessId> groups() const {
    std::vector<ProcessId> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ + "/data/attempts", error)) {
      absl::StatusOr<std::string> text = read_file(entry.path().string() + "/supervisor.pid");
      if (!text.ok()) continue;
      const std::vector<std::string> words = absl::StrSplit(*text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
      if (words.size() == 2) found.push_back({std::stoi(words[0]), std::stoull(words[1])});
    }
    return found;
  }

  // The one that is there, once its supervisor has begun.
  ProcessId group() const {
    EXPECT_TRUE(eventually([this] { return !groups().empty(); }));
    const std::vector<ProcessId> found = groups();
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? ProcessId{} : found[0];
  }

  v1::Assignment assignment(const std::string& id, const std::string& script, uint32_t rank = 0,
                            uint32_t ranks = 1) const {
    v1::Assignment a;
    a.mutable_id()->set_job_id(id);
    a.mutable_id()->set_attempt(1);
    a.mutable_id()->set_epoch(5);
    a.set_rank(rank);
    a.set_ranks(ranks);
    a.set_job_folder(folder_ + "/jobs/" + id);
    v1::Job& job = *a.mutable_job();
    job.set_name("test");
    job.mutable_model()->set_source("preset:tiny");
    job.set_tokenizer("bytes");
    job.mutable_data()->add_train(folder_ + "/inputs/*.txt");
    job.mutable_checkpoint()->set_directory("checkpoints");
    (*job.mutable_scheduling()->mutable_labels())["script"] = script;
    return a;
  }

  static std::string lines(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) absl::StrAppend(&text, "line ", i, "\n");
    return text;
  }

  // The word of a script that waits until `allow` is called with the same name.
  std::string wait_for_file(const std::string& name) const { return "wait-file " + folder_ + "/" + name; }
  void allow(const std::string& name) const { EXPECT_TRUE(write_file_atomically(folder_ + "/" + name, "").ok()); }

  std::string ready_file() const { return folder_ + "/ready.json"; }

  std::vector<std::pair<std::string, std::string>> environment_;  // of the daemon, beside ours
  std::string trainer_ = GALLEON_BINARY_DIR "/fake-trainer";
  FakeScheduler scheduler_;
  std::string folder_;
  std::optional<ProcessId> daemon_;
};

}  // namespace galleon

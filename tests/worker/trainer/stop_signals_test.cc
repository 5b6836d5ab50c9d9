// A trainer that is told to stop: no thread of it may take the signal while it computes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/process.h"
#include "tests/patience.h"
#include "tests/worker/engine/run_support.h"

namespace galleon {
namespace {

namespace fs = std::filesystem;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The number of a line `NAME:\t…` of a status file under /proc, in hexadecimal.
uint64_t mask(const std::string& status, const std::string& name) {
  const size_t at = status.find("\n" + name + ":\t");
  return at == std::string::npos ? 0 : std::stoull(status.substr(at + name.size() + 3), nullptr, 16);
}

constexpr uint64_t bit(int signal) {
  return uint64_t{1} << (signal - 1);
}

class StopSignals : public testing::Test {
 protected:
  void SetUp() override {
    const std::string job = folder_.path() + "/job.yaml";
    std::ofstream(folder_.path() + "/text.txt") << std::string(20000, 'a');
    std::ofstream(job)
        << "{name: stopped, task: pretrain, model: {source: 'preset:tiny'}, tokenizer: bytes, data: {train: ["
        << folder_.path()
        << "/text.txt], sequence_length: 64}, training: {steps: 1000000, global_batch: 8, micro_batch: 8,"
           " log_every: 1}, resources: {device: cpu}}\n";
    ProcessOptions options;
    options.command = {std::string(GALLEON_BINARY_DIR) + "/galleon-trainer", "--job", job, "--output", output()};
    options.stdout_path = options.stderr_path = folder_.path() + "/log";
    options.die_with_parent = true;
    // Threads also where there is one processor.
    options.environment = {{"OMP_NUM_THREADS", "3"}};
    absl::StatusOr<ProcessId> started = start_process(options);
    ASSERT_TRUE(started.ok()) << started.status();
    trainer_ = *started;
    ASSERT_TRUE(eventually([&] {
      return text_of(output() + "/metrics.jsonl").find("\"step\":3") != std::string::npos;
    })) << text_of(folder_.path() + "/log");
  }
  void TearDown() override { signal_process_group(trainer_, SIGKILL); }

  std::string output() const { return folder_.path() + "/out"; }

  TestFolder folder_;
  ProcessId trainer_;
};

TEST_F(StopSignals, NoThreadThatComputesRunsAHandler) {
  // Of the C library's own, which nothing here sends, and of faults, after which nothing goes on.
  const uint64_t others = bit(32) | bit(33) | bit(SIGSEGV) | bit(SIGBUS) | bit(SIGFPE) | bit(SIGILL) | bit(SIGABRT);
  int threads = 0;
  for (const auto& entry : fs::directory_iterator(absl::StrCat("/proc/", trainer_.pid, "/task"))) {
    const std::string status = text_of(entry.path().string() + "/status");
    EXPECT_EQ(mask(status, "SigCgt") & ~mask(status, "SigBlk") & ~others, 0) << status;
    const uint64_t ours = bit(SIGTERM) | bit(SIGINT) | bit(SIGUSR1);
    EXPECT_EQ(mask(status, "SigBlk") & ours, ours) << status;
    ++threads;
  }
  EXPECT_GE(threads, 2);
}

class EachStopSignal : public StopSignals, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Signals, EachStopSignal, testing::Values(SIGINT, SIGTERM, SIGUSR1));

TEST_P(EachStopSignal, EndsItWithACheckpoint) {
  ASSERT_EQ(::kill(trainer_.pid, GetParam()), 0);
  const absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(trainer_.pid, kPatience);
  ASSERT_TRUE(exit.ok() && exit->has_value()) << text_of(folder_.path() + "/log");
  EXPECT_EQ((*exit)->signal, 0) << text_of(folder_.path() + "/log");
  EXPECT_EQ((*exit)->code, 0) << text_of(folder_.path() + "/log");
  EXPECT_FALSE(fs::is_empty(output() + "/checkpoints"));
}

}  // namespace
}  // namespace galleon

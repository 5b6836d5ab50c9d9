// Small training runs for tests: a corpus of made-up text in a temporary folder, ranks as threads that meet through it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "worker/engine/ranks/socket_communicator.h"
#include "worker/engine/run/training.h"

namespace galleon {

// A folder of the test's own that is removed at its end.
class TestFolder {
 public:
  TestFolder() {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    static std::atomic<int> number = 0;  // a test may have several
    std::string name = absl::StrCat(info->test_suite_name(), "-", info->name(), "-", ::getpid(), "-", number++);
    for (char& c : name) c = c == '/' ? '-' : c;
    path_ = testing::TempDir() + name;
    std::filesystem::remove_all(path_);
    EXPECT_TRUE(make_folders(path_).ok());
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& content) const {
    const std::string path = absl::StrCat(path_, "/", name);
    EXPECT_TRUE(write_file_atomically(path, content).ok());
    return path;
  }

 private:
  std::string path_;
};

// Words of a small language with repetitions, so that there is something to learn.
inline std::string made_up_text(int words, uint64_t seed) {
  const char* kWords[] = {"the ",   "ship ",   "sails ", "north ", "and ",   "wind ",
                          "turns ", "slowly ", "over ",  "grey ",  "water. "};
  std::mt19937_64 random(seed);
  std::string text;
  int last = 0;
  for (int i = 0; i < words; ++i) {
    last = random() % 3 == 0 ? static_cast<int>(random() % 11) : (last * 4 + 1) % 11;
    text += kWords[last];
  }
  return text;
}

// A tiny model on bytes. Every field that a test cares about is set by the test.
inline RunOptions tiny_run(const TestFolder& folder) {
  RunOptions o;
  o.name = "tiny";
  o.model.source = "preset:tiny";
  o.tokenizer = "bytes";
  o.data.train = {folder.write("train.txt", made_up_text(6000, 1))};
  o.data.validation = {folder.write("validation.txt", made_up_text(700, 2))};
  o.data.sequence_length = 32;
  o.optimizer.learning_rate = 0.01;
  o.optimizer.galore = GaloreOptions{};
  o.optimizer.galore->rank = 8;
  o.optimizer.galore->refresh_interval = 10;
  o.optimizer.galore->scale = 1.0;
  o.steps = 12;
  o.warmup_steps = 2;
  o.global_batch = 8;
  o.micro_batch = 4;
  o.log_every = 1;
  o.checkpoint_keep = 10;
  o.checkpoint_folder = folder.path() + "/checkpoints";
  o.mathematics = "test: 1\n";
  return o;
}

class RecordingObserver : public RunObserver {
 public:
  void stage(const std::string& name, const std::string& detail) override { stages.push_back(name + ": " + detail); }
  void allocated(const Engine& engine) override {
    for (int i = 0; i < kMemoryCategories; ++i) ledger[i] = engine.ledger().bytes(static_cast<MemoryCategory>(i));
    ledger_peak = engine.ledger().peak();
  }
  void stepped(int64_t step) override { newest_step = step; }
  void logged(const StepLine& line) override {
    lines.push_back(line);
    if (step_logged) step_logged(line);
  }
  void evaluated(const EvaluationLine& line) override { evaluations.push_back(line); }
  absl::Status approve_checkpoint(int64_t step, const std::string&) override {
    return gate ? gate(step) : absl::OkStatus();
  }
  void published(int64_t step, const std::string&) override { published_steps.push_back(step); }
  std::optional<std::string> stop_requested() override {
    return stop_after > 0 && static_cast<int64_t>(lines.size()) + 1 + resumed_at >= stop_after
               ? std::optional<std::string>("test")
               : std::nullopt;
  }

  std::vector<double> losses() const {
    std::vector<double> values;
    for (const StepLine& line : lines) values.push_back(line.loss);
    return values;
  }

  std::vector<std::string> stages;
  std::vector<StepLine> lines;
  std::vector<EvaluationLine> evaluations;
  std::vector<int64_t> published_steps;
  int64_t ledger[kMemoryCategories] = {};
  int64_t ledger_peak = 0;
  std::function<absl::Status(int64_t)> gate;
  std::function<void(const StepLine&)> step_logged;
  int64_t newest_step = 0;
  int64_t stop_after = 0;
  int64_t resumed_at = 0;
};

struct RankOutcome {
  absl::StatusOr<RunResult> result = absl::UnknownError("did not run");
  RecordingObserver observer;
};

using MakeDevice = std::function<std::unique_ptr<Device>()>;

// Runs `ranks` ranks to their end, each in a thread with its own device: a CPU's on one thread where nothing else is
// said.
inline std::vector<RankOutcome> run_ranks(
    const RunOptions& options, int ranks, const std::string& output,
    const std::function<void(int, RecordingObserver&, RunContext&)>& prepare = {},
    const MakeDevice& make_device = [] { return make_cpu_device(1); },
    const std::function<void(ResolvedJob&)>& adapt = {}) {
  static int run_number = 0;
  const std::string meeting = absl::StrCat(output, "/meeting-", run_number++);
  EXPECT_TRUE(make_folders(output).ok());
  std::vector<RankOutcome> outcomes(ranks);
  auto run = [&](int rank) {
    RankOutcome& outcome = outcomes[rank];
    const std::unique_ptr<Device> device = make_device();
    device->ledger().set_limit(options.memory_limit);
    absl::StatusOr<std::unique_ptr<Communicator>> communicator = make_single_communicator(*device);
    if (ranks > 1) {
      std::unique_ptr<Rendezvous> rendezvous = make_folder_rendezvous(meeting);
      communicator = make_socket_communicator(*device, rank, ranks, *rendezvous, {"test", options.mathematics}, {});
    }
    if (!communicator.ok()) {
      outcome.result = communicator.status();
      return;
    }
    absl::StatusOr<ResolvedJob> job = resolve_job(options);
    if (!job.ok()) {
      outcome.result = job.status();
      return;
    }
    if (adapt) adapt(*job);
    RunContext context;
    context.epoch = 1;
    context.metrics_path = output + "/metrics.jsonl";
    if (prepare) prepare(rank, outcome.observer, context);
    outcome.result = run_training(options, *job, *device, **communicator, context, outcome.observer);
  };
  std::vector<std::thread> threads;
  for (int rank = 1; rank < ranks; ++rank) threads.emplace_back(run, rank);
  run(0);
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

inline RankOutcome run_one(const RunOptions& options, const std::string& output,
                           const std::function<void(int, RecordingObserver&, RunContext&)>& prepare = {}) {
  return std::move(run_ranks(options, 1, output, prepare)[0]);
}

}  // namespace galleon

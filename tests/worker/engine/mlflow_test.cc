// Whole runs that tell an MLflow server: a fake one, and one of the package mlflow. GALLEON_PYTHON names a Python that
// has it; without one the tests that need it are skipped.
#include <nlohmann/json.hpp>

#include "common/base/process.h"
#include "tests/fake_mlflow.h"
#include "tests/patience.h"
#include "tests/worker/engine/python_packages.h"
#include "tests/worker/engine/run_support.h"

namespace galleon {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::vector<int64_t> counted(int64_t first, int64_t last) {
  std::vector<int64_t> steps;
  for (int64_t step = first; step <= last; ++step) steps.push_back(step);
  return steps;
}

RunOptions tracked_run(const TestFolder& folder, const std::string& address) {
  RunOptions o = tiny_run(folder);
  o.evaluate_every = 6;
  o.tracking = {address, "novels", "tiny"};
  o.hyperparameters = {{"optimizer.learning_rate", 0.01}, {"data.packing", true}, {"optimizer.galore.rank", 8.0}};
  return o;
}

void hurry(int, RecordingObserver&, RunContext& context) {
  context.environment = [](const std::string&) { return ""; };
  context.mlflow_pace.between_calls = absl::Milliseconds(5);
  context.mlflow_pace.first_pause = absl::Milliseconds(5);
  context.mlflow_pace.longest_pause = absl::Milliseconds(50);
}

std::vector<int64_t> steps_of(const FakeMlflowRun& run, const std::string& metric) {
  std::vector<int64_t> steps;
  for (const auto& [name, step, value, time] : run.metrics) {
    if (name == metric) steps.push_back(step);
  }
  return steps;
}

TEST(Tracking, TwoRanksTellOneRun) {
  TestFolder folder;
  FakeMlflow server;
  const std::vector<RankOutcome> ranks = run_ranks(tracked_run(folder, server.url()), 2, folder.path() + "/out", hurry);
  ASSERT_TRUE(ranks[0].result.ok()) << ranks[0].result.status();
  EXPECT_EQ(ranks[0].result->unsent, "");
  const FakeMlflowRun run = server.run();
  EXPECT_EQ(steps_of(run, "train/loss"), counted(1, 12));
  EXPECT_EQ(steps_of(run, "ranks/sent_bytes"), counted(1, 12));
  EXPECT_EQ(steps_of(run, "validation/loss"), (std::vector<int64_t>{6, 12}));
  EXPECT_EQ(run.status, "FINISHED");
  EXPECT_EQ(run.parameters,
            (std::map<std::string, std::string>{
                {"optimizer.learning_rate", "0.01"}, {"data.packing", "true"}, {"optimizer.galore.rank", "8"}}));
  EXPECT_EQ(run.tags.at("galleon.version"), GALLEON_VERSION);
  EXPECT_EQ(run.tags.at("galleon.job"), "tiny");
}

TEST(Tracking, ARunWhoseServerIsAwayTrainsOnAndTellsAllWhenItGoesOn) {
  TestFolder folder;
  FakeMlflow server;
  server.stop();
  RunOptions o = tracked_run(folder, server.url());
  const RankOutcome first =
      run_one(o, folder.path() + "/out", [](int rank, RecordingObserver& observer, RunContext& c) {
        hurry(rank, observer, c);
        observer.stop_after = 5;
      });
  ASSERT_TRUE(first.result.ok()) << first.result.status();
  EXPECT_EQ(first.result->step, 5);
  EXPECT_THAT(first.result->unsent, HasSubstr("5 lines of metrics.jsonl were not sent to MLflow: " + server.url()));
  EXPECT_THAT(first.observer.stages, testing::Contains(HasSubstr("training goes on")));
  server.start();
  const RankOutcome rest = run_one(o, folder.path() + "/out", hurry);
  ASSERT_TRUE(rest.result.ok()) << rest.result.status();
  EXPECT_EQ(rest.result->unsent, "");
  EXPECT_EQ(steps_of(server.run(), "train/loss"), counted(1, 12));
}

TEST(Tracking, ADoneRunTellsWhatItCouldNotTellBefore) {
  TestFolder folder;
  FakeMlflow server;
  RunOptions o = tracked_run(folder, server.url());
  o.tracking.reset();
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  o.tracking = TrackingOptions{server.url(), "novels", "tiny"};
  const RankOutcome done = run_one(o, folder.path() + "/out", hurry);
  ASSERT_TRUE(done.result.ok()) << done.result.status();
  EXPECT_TRUE(done.observer.lines.empty()) << "nothing was left to train";
  EXPECT_EQ(steps_of(server.run(), "train/loss"), counted(1, 12));
  EXPECT_EQ(server.run().status, "FINISHED");
}

TEST(Tracking, AFailedRunIsToldAsFailed) {
  TestFolder folder;
  FakeMlflow server;
  RunOptions o = tracked_run(folder, server.url());
  o.checkpoint_every = 4;
  const RankOutcome run = run_one(o, folder.path() + "/out", [](int rank, RecordingObserver& observer, RunContext& c) {
    hurry(rank, observer, c);
    observer.gate = [](int64_t) { return absl::UnavailableError("no"); };
  });
  ASSERT_FALSE(run.result.ok());
  EXPECT_EQ(server.run().status, "FAILED");
  EXPECT_GE(steps_of(server.run(), "train/loss").size(), 4U);
}

TEST(Tracking, WhatIsWrongIsRefusedBeforeTheFirstStepOnEveryRank) {
  TestFolder folder;
  RunOptions o = tracked_run(folder, "http://127.0.0.1:1");
  const std::vector<RankOutcome> ranks =
      run_ranks(o, 2, folder.path() + "/out", [](int, RecordingObserver&, RunContext& context) {
        context.environment = [](const std::string& name) {
          return name == "MLFLOW_TRACKING_INSECURE_TLS" ? "true" : "";
        };
      });
  EXPECT_EQ(ranks[0].result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ranks[1].result.status().message()), HasSubstr("MLFLOW_TRACKING_INSECURE_TLS"));
}

// `mlflow server` on loopback, which can be killed and started again.
class MlflowOfThePackage : public testing::Test {
 protected:
  void SetUp() override {
    static const bool has = python_has("mlflow, flask, sqlalchemy");
    if (!has) GTEST_SKIP() << python() << " has no mlflow; GALLEON_PYTHON names another";
    // A port that is free now.
    const FileDescriptor probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    ASSERT_EQ(::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  void TearDown() override { kill_server(); }

  std::string url() const { return absl::StrCat("http://127.0.0.1:", port_); }

  void start_server() {
    const std::string command =
        absl::StrCat("exec \"$(command -v ", python(), ")\" -m mlflow server --host 127.0.0.1 --port ", port_,
                     " --workers 1 --backend-store-uri sqlite:///", folder_.path(),
                     "/mlflow.db --artifacts-destination ", folder_.path(), "/artifacts");
    ProcessOptions options;
    options.command = {"/bin/sh", "-c", command};
    options.environment = {{"MLFLOW_DISABLE_TELEMETRY", "true"}, {"DO_NOT_TRACK", "true"}};
    options.stdout_path = options.stderr_path = folder_.path() + "/server.log";
    options.die_with_parent = true;
    const absl::StatusOr<ProcessId> process = start_process(options);
    ASSERT_TRUE(process.ok()) << process.status();
    server_ = *process;
    const std::atomic<bool> stop{false};
    MlflowServer probe(*mlflow_access(url(), [](const std::string&) { return ""; }), &stop);
    ASSERT_TRUE(eventually([&] { return probe.experiment("Default").ok(); })) << *read_file(options.stdout_path);
  }
  void kill_server() {
    if (server_.pid == 0) return;
    signal_process_group(server_, SIGKILL);
    (void)wait_process(server_.pid, kPatience);
    server_ = {};
  }
  // As MLflow's own client reads them.
  json runs() {
    const std::string out = folder_.path() + "/read.json";
    const int code = std::system(absl::StrCat("MLFLOW_DISABLE_TELEMETRY=true ", python(),
                                              " " GALLEON_SOURCE_DIR "/tests/worker/engine/read_mlflow.py ", url(),
                                              " novels >", out, " 2>", out, ".err")
                                     .c_str());
    EXPECT_EQ(code, 0) << read_file(out + ".err").value_or("");
    return code == 0 ? json::parse(*read_file(out)) : json::array();
  }
  static std::vector<int64_t> steps(const json& run, const std::string& metric) {
    std::vector<int64_t> steps;
    for (const json& point : run["metrics"][metric]) steps.push_back(point[0].get<int64_t>());
    return steps;
  }

  TestFolder folder_;
  int port_ = 0;
  ProcessId server_;
};

TEST_F(MlflowOfThePackage, HasEveryStepOnceAlthoughItWasKilledInBetweenAndTheRunWasResumed) {
  start_server();
  RunOptions o = tracked_run(folder_, url());
  std::vector<double> losses;
  const RankOutcome first =
      run_one(o, folder_.path() + "/out", [&](int rank, RecordingObserver& observer, RunContext& context) {
        hurry(rank, observer, context);
        observer.stop_after = 8;
        observer.step_logged = [&](const StepLine& line) {
          if (line.step == 3) kill_server();
          if (line.step == 6) start_server();
        };
      });
  ASSERT_TRUE(first.result.ok()) << first.result.status();
  ASSERT_EQ(first.result->step, 8);
  EXPECT_EQ(first.result->unsent, "");
  json told = runs();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0]["status"], "KILLED");
  EXPECT_EQ(steps(told[0], "train/loss"), counted(1, 8));

  const RankOutcome rest = run_one(o, folder_.path() + "/out", hurry);
  ASSERT_TRUE(rest.result.ok()) << rest.result.status();
  EXPECT_EQ(rest.result->unsent, "");
  told = runs();
  ASSERT_EQ(told.size(), 1U) << "the same run was taken up again";
  EXPECT_EQ(told[0]["status"], "FINISHED");
  EXPECT_EQ(told[0]["name"], "tiny");
  EXPECT_EQ(told[0]["params"],
            (json{{"optimizer.learning_rate", "0.01"}, {"data.packing", "true"}, {"optimizer.galore.rank", "8"}}));
  EXPECT_EQ(told[0]["tags"]["galleon.version"], GALLEON_VERSION);
  EXPECT_GE(told[0]["end"].get<int64_t>(), told[0]["start"].get<int64_t>());
  EXPECT_EQ(steps(told[0], "validation/loss"), (std::vector<int64_t>{6, 12}));
  ASSERT_EQ(steps(told[0], "train/loss"), counted(1, 12));
  for (const StepLine& line : first.observer.lines) losses.push_back(line.loss);
  for (const StepLine& line : rest.observer.lines) losses.push_back(line.loss);
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_EQ(told[0]["metrics"]["train/loss"][i][1].get<double>(), losses[i]);
  // Times are those of the steps, not of their sending.
  EXPECT_LE(told[0]["metrics"]["train/loss"][2][2], told[0]["metrics"]["train/loss"][3][2]);
}

}  // namespace
}  // namespace galleon

// The executable itself: kills, signals, exit codes.
#include <signal.h>
#include <sqlite3.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "common/base/process.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

class Process : public ServerTest {
 protected:
  void TearDown() override {
    if (process_.pid != 0) end(SIGKILL);
    ServerTest::TearDown();
  }

  void launch(const std::vector<std::string>& more = {}) {
    ProcessOptions options;
    options.command = {GALLEON_BINARY_DIR "/galleon-scheduler",
                       "--data",
                       folder_ + "/data",
                       "--listen",
                       "127.0.0.1:0",
                       "--metrics",
                       "127.0.0.1:0",
                       "--ready-file",
                       ready_file(),
                       "--planner",
                       options_.planner};
    options.command.insert(options.command.end(), more.begin(), more.end());
    options.stderr_path = folder_ + "/log";
    const absl::StatusOr<ProcessId> process = start_process(options);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *process;
    nlohmann::json ready = nlohmann::json::object();
    for (int i = 0; i < 500 && ready.value("pid", 0) != process_.pid; ++i) {
      absl::SleepFor(absl::Milliseconds(20));
      ready = nlohmann::json::parse(read_file(ready_file()).value_or("{}"));
    }
    ASSERT_EQ(ready.value("pid", 0), process_.pid) << read_file(folder_ + "/log").value_or("");
    channel_ = grpc::CreateChannel(ready["listen"].get<std::string>(), grpc::InsecureChannelCredentials());
    jobs_ = v1::JobService::NewStub(channel_);
  }
  ProcessExit wait() {
    const absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process_.pid, absl::Seconds(20));
    process_ = {};
    EXPECT_TRUE(exit.ok() && exit->has_value());
    return exit.ok() ? exit->value_or(ProcessExit{-1, 0}) : ProcessExit{-1, 0};
  }
  ProcessExit end(int signal) {
    ::kill(process_.pid, signal);
    return wait();
  }
  std::string ready_file() const { return folder_ + "/ready.json"; }

  ProcessId process_;
};

TEST_F(Process, AcknowledgedSubmitsAndCancelsSurviveKillNine) {
  std::vector<std::string> queued, cancelled;
  for (int round = 0; round < 3; ++round) {
    launch();
    for (int i = 0; i < 10; ++i) queued.push_back(submit(job_named("x")));
    cancelled.push_back(submit(job_named("y")));
    v1::CancelJobRequest request;
    request.set_name("jobs/" + cancelled.back());
    v1::JobRecord record;
    ASSERT_TRUE(jobs_->CancelJob(context().get(), request, &record).ok());
    EXPECT_EQ(end(SIGKILL).signal, SIGKILL);
  }
  launch();
  for (const std::string& id : queued) EXPECT_EQ(get(id).state(), v1::JobRecord::QUEUED);
  for (const std::string& id : cancelled) EXPECT_EQ(get(id).state(), v1::JobRecord::CANCELLED);
}

TEST_F(Process, SigtermEndsItWithZeroAndTakesTheReadyFileAway) {
  launch();
  submit(job_named("x"));
  EXPECT_EQ(end(SIGTERM).code, 0);
  EXPECT_FALSE(std::filesystem::exists(ready_file()));
}

TEST_F(Process, ACommitThatFailsEndsItAndIsNeverAcknowledged) {
  launch();
  const std::string id = submit(job_named("x"));
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ + "/data/scheduler.db").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "ALTER TABLE event RENAME TO away", nullptr, nullptr, nullptr), SQLITE_OK);
  v1::CreateJobRequest request;
  *request.mutable_job() = job_named("lost");
  v1::JobRecord record;
  EXPECT_FALSE(jobs_->CreateJob(context().get(), request, &record).ok());
  EXPECT_EQ(wait().code, 4);
  EXPECT_TRUE(absl::StrContains(read_file(folder_ + "/log").value_or(""), "the journal cannot be written"));
  ASSERT_EQ(sqlite3_exec(database, "ALTER TABLE away RENAME TO event", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
  launch();
  EXPECT_EQ(get(id).state(), v1::JobRecord::QUEUED);
  v1::ListJobsResponse list;
  ASSERT_TRUE(jobs_->ListJobs(context().get(), {}, &list).ok());
  EXPECT_EQ(list.jobs_size(), 1);
}

TEST_F(Process, WrongFlagsAreExplained) {
  const std::string program = GALLEON_BINARY_DIR "/galleon-scheduler";
  const auto run = [&program](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program);
    return *run_command(arguments, absl::Seconds(10));
  };
  const CommandResult lease =
      run({"--data", folder_ + "/d", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--lease", "soon"});
  EXPECT_NE(lease.exit.code, 0);
  EXPECT_TRUE(absl::StrContains(lease.err + lease.out, "such as 45s")) << lease.err;
  const CommandResult open = run({"--data", folder_ + "/d", "--listen", "0.0.0.0:7070", "--metrics", "127.0.0.1:0"});
  EXPECT_EQ(open.exit.code, 1);
  EXPECT_TRUE(absl::StrContains(open.err, "speaks no TLS; give --listen 127.0.0.1:7070")) << open.err;
  const CommandResult help = run({"--help"});
  EXPECT_EQ(help.exit.code, 0);
  EXPECT_TRUE(absl::StrContains(help.out, "Example:")) << help.out;
}

}  // namespace
}  // namespace galleon::server

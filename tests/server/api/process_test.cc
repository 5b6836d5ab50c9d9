// The executable itself: kills, signals, exit codes.
#include <signal.h>
#include <sqlite3.h>

#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/match.h"
#include "common/base/process.h"
#include "proto/jobfile/jobfile.h"
#include "tests/common/base/notify_socket.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

// The executable checks jobs as the job file's reader does.
v1::Job whole_job(const std::string& name) {
  absl::StatusOr<v1::Job> job =
      parse_job(absl::StrCat("name: ", name,
                             "\ntask: pretrain\nmodel: {source: preset:tiny}\ntokenizer: bytes\n"
                             "data: {train: [/a.txt]}\ntraining: {steps: 1}\n"),
                "job.yaml", "");
  EXPECT_TRUE(job.ok()) << job.status();
  if (!job.ok()) return {};
  job->mutable_shape()->set_architecture("llama");
  return *job;
}

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
    options.environment = environment_;
    const absl::StatusOr<ProcessId> process = start_process(options);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *process;
    nlohmann::json ready = nlohmann::json::object();
    ASSERT_TRUE(eventually([&] {
      ready = nlohmann::json::parse(read_file(ready_file()).value_or("{}"));
      return ready.value("pid", 0) == process_.pid;
    })) << read_file(folder_ + "/log").value_or("");
    channel_ = grpc::CreateChannel(ready["listen"].get<std::string>(), grpc::InsecureChannelCredentials());
    jobs_ = v1::JobService::NewStub(channel_);
  }
  ProcessExit wait() {
    const absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process_.pid, kPatience);
    process_ = {};
    EXPECT_TRUE(exit.ok() && exit->has_value());
    return exit.ok() ? exit->value_or(ProcessExit{-1, 0}) : ProcessExit{-1, 0};
  }
  ProcessExit end(int signal) {
    ::kill(process_.pid, signal);
    return wait();
  }
  std::string ready_file() const { return folder_ + "/ready.json"; }

  std::vector<std::pair<std::string, std::string>> environment_;
  ProcessId process_;
};

TEST_F(Process, AcknowledgedSubmitsAndCancelsSurviveKillNine) {
  std::vector<std::string> queued, cancelled;
  for (int round = 0; round < 3; ++round) {
    launch();
    for (int i = 0; i < 10; ++i) queued.push_back(submit(whole_job("x")));
    cancelled.push_back(submit(whole_job("y")));
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

TEST_F(Process, EveryBadFieldOfAJobIsNamed) {
  launch();
  v1::Job job = whole_job("x");
  job.mutable_optimizer()->set_learning_rate(-1);
  job.mutable_training()->set_micro_batch(0);
  v1::JobRecord record;
  const grpc::Status refused = create(job, record);
  EXPECT_EQ(refused.error_code(), grpc::INVALID_ARGUMENT);
  v1::BadRequest bad;
  ASSERT_EQ(details(refused).details_size(), 2) << refused.error_message();
  ASSERT_TRUE(bad.ParseFromString(details(refused).details(1).value()));
  std::set<std::string> fields;
  for (const v1::BadRequest::FieldViolation& violation : bad.field_violations()) fields.insert(violation.field());
  EXPECT_TRUE(fields.contains("optimizer.learning_rate") && fields.contains("training.micro_batch"))
      << refused.error_message();
}

TEST_F(Process, SigtermEndsItWithZeroAndTakesTheReadyFileAway) {
  launch();
  submit(whole_job("x"));
  EXPECT_EQ(end(SIGTERM).code, 0);
  EXPECT_FALSE(std::filesystem::exists(ready_file()));
}

TEST_F(Process, SighupReadsTheQueuesAgainOrSaysWhyNotAndEndsNothing) {
  const std::string queues = folder_ + "/queues.yaml";
  ASSERT_TRUE(write_file_atomically(queues, "queues: {default: {}, lab: {}}\n").ok());
  launch({"--queues", queues});
  const auto log_has = [this](const std::string& text) {
    return eventually([&] { return absl::StrContains(read_file(folder_ + "/log").value_or(""), text); });
  };
  v1::Job job = whole_job("x");
  job.mutable_scheduling()->set_queue("lab");
  const std::string id = submit(job);
  ASSERT_TRUE(write_file_atomically(queues, "queues: {default: {weight: none}}\n").ok());
  ::kill(process_.pid, SIGHUP);
  EXPECT_TRUE(log_has("nothing is read again, all stays as it was: " + queues + ":1: queues.default.weight"));
  submit(job);
  ASSERT_TRUE(write_file_atomically(queues, "queues: {default: {weight: 2}}\n").ok());
  ::kill(process_.pid, SIGHUP);
  EXPECT_TRUE(log_has("again: queues: removed lab; changed default: weight 2, was 1"));
  v1::JobRecord record;
  EXPECT_EQ(create(job, record).error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(get(id).state(), v1::JobRecord::QUEUED);
  EXPECT_EQ(get(id).project(), "default");
  const std::string audit = read_file(folder_ + "/data/audit.jsonl").value_or("");
  EXPECT_TRUE(absl::StrContains(audit, "\"peer\":\"signal\",\"method\":\"Reload\",\"resource\":\"queues: removed lab"))
      << audit;
  EXPECT_EQ(end(SIGTERM).code, 0);
}

TEST_F(Process, AServiceManagerHearsWhenItServesReloadsAndEndsAndThatItDecides) {
  const NotifySocket manager(absl::StrCat("@galleon-", random_hex(8)));
  environment_ = {{"NOTIFY_SOCKET", manager.name()}, {"WATCHDOG_USEC", "400000"}};
  const std::string queues = folder_ + "/queues.yaml";
  ASSERT_TRUE(write_file_atomically(queues, "queues: {default: {}}\n").ok());
  launch({"--queues", queues});
  EXPECT_TRUE(absl::StartsWith(manager.next_state(), "READY=1\nSTATUS=serves on 127.0.0.1:"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(manager.next(), "WATCHDOG=1\n");
  ::kill(process_.pid, SIGHUP);
  EXPECT_TRUE(absl::StartsWith(manager.next_state(), "RELOADING=1\nMONOTONIC_USEC="));
  EXPECT_TRUE(absl::StartsWith(manager.next_state(), "READY=1\n"));
  ASSERT_TRUE(write_file_atomically(queues, "[]\n").ok());
  ::kill(process_.pid, SIGHUP);
  EXPECT_TRUE(absl::StartsWith(manager.next_state(), "RELOADING=1\n"));
  EXPECT_TRUE(absl::StartsWith(manager.next_state(), "READY=1\n"));  // and goes on as before
  EXPECT_EQ(end(SIGTERM).code, 0);
  EXPECT_EQ(manager.next_state(), "STOPPING=1\n");
}

TEST_F(Process, SighupWithoutFilesSaysThatThereIsNothingToRead) {
  launch();
  ::kill(process_.pid, SIGHUP);
  EXPECT_TRUE(eventually(
      [&] { return absl::StrContains(read_file(folder_ + "/log").value_or(""), "there is nothing to read again"); }));
  EXPECT_EQ(end(SIGTERM).code, 0);
}

TEST_F(Process, ACommitThatFailsEndsItAndIsNeverAcknowledged) {
  launch();
  const std::string id = submit(whole_job("x"));
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ + "/data/scheduler.db").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "ALTER TABLE event RENAME TO away", nullptr, nullptr, nullptr), SQLITE_OK);
  v1::CreateJobRequest request;
  *request.mutable_job() = whole_job("lost");
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

TEST_F(Process, AReadyFileThatIsNoFileIsLeftAlone) {
  const std::string fifo = folder_ + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const absl::StatusOr<CommandResult> refused =
      run_command({GALLEON_BINARY_DIR "/galleon-scheduler", "--data", folder_ + "/d", "--listen", "127.0.0.1:0",
                   "--metrics", "127.0.0.1:0", "--ready-file", fifo},
                  kPatience);
  ASSERT_TRUE(refused.ok());
  EXPECT_EQ(refused->exit.code, 2);
  EXPECT_TRUE(absl::StrContains(refused->err, "fifo is a FIFO and not a regular file")) << refused->err;
  EXPECT_TRUE(std::filesystem::is_fifo(fifo));
}

TEST_F(Process, WrongFlagsAreExplained) {
  const std::string program = GALLEON_BINARY_DIR "/galleon-scheduler";
  const auto run = [&program](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program);
    return *run_command(arguments, kPatience);
  };
  const CommandResult lease =
      run({"--data", folder_ + "/d", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--lease", "soon"});
  EXPECT_NE(lease.exit.code, 0);
  EXPECT_TRUE(absl::StrContains(lease.err + lease.out, "such as 45s")) << lease.err;
  const CommandResult open = run({"--data", folder_ + "/d", "--listen", "0.0.0.0:7070", "--metrics", "127.0.0.1:0"});
  EXPECT_EQ(open.exit.code, 2);
  EXPECT_TRUE(absl::StrContains(open.err, "speaks no TLS; give --listen 127.0.0.1:7070")) << open.err;
  const CommandResult help = run({"--help"});
  EXPECT_EQ(help.exit.code, 0);
  EXPECT_TRUE(absl::StrContains(help.out, "Example:")) << help.out;
}

// Its exit code at a start that fails, and the last line of its log.
std::pair<int, std::string> failed_start(const std::string& folder, const std::vector<std::string>& more) {
  ProcessOptions options;
  options.command = {GALLEON_BINARY_DIR "/galleon-scheduler",
                     "--data",
                     folder + "/data",
                     "--listen",
                     "127.0.0.1:0",
                     "--metrics",
                     "127.0.0.1:0"};
  options.command.insert(options.command.end(), more.begin(), more.end());
  options.stderr_path = folder + "/failed";
  const absl::StatusOr<ProcessId> process = start_process(options);
  EXPECT_TRUE(process.ok()) << process.status();
  if (!process.ok()) return {-1, ""};
  const absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process->pid, kPatience);
  EXPECT_TRUE(exit.ok() && exit->has_value());
  return {exit.ok() ? exit->value_or(ProcessExit{-1, 0}).code : -1, read_file(folder + "/failed").value_or("")};
}

TEST_F(Process, ExitCodesTellWhatMayHealByItselfFromWhatNeverDoes) {
  const std::string file = folder_ + "/queues.yaml";
  EXPECT_EQ(failed_start(folder_, {"--no-such-option"}).first, 2);
  EXPECT_EQ(failed_start(folder_, {"--keep-free", "much"}).first, 2);
  ASSERT_TRUE(write_file_atomically(file, "queues: {a: {weihgt: 1}}").ok());
  EXPECT_EQ(failed_start(folder_, {"--queues", file}).first, 2);
  EXPECT_EQ(failed_start(folder_, {"--queues", folder_ + "/not-mounted-yet.yaml"}).first, 1);
  launch();
  EXPECT_EQ(failed_start(folder_, {}).first, 1) << "another scheduler works there; it may end";
  EXPECT_EQ(end(SIGTERM).code, 0);
  ASSERT_TRUE(
      write_file_atomically(folder_ + "/data/scheduler.db", "this was a journal once, and is none any more").ok());
  EXPECT_EQ(failed_start(folder_, {}).first, 3) << read_file(folder_ + "/failed").value_or("");
}

TEST_F(Process, ADiskThatWasFullAtTheStartIsNoReasonToStayAway) {
  // What a shell and those it starts may write to a file at most; SIGXFSZ is ignored, so that the write fails as on a
  // full disk.
  ProcessOptions options;
  options.command = {"/bin/sh", "-c",
                     absl::StrCat("trap '' XFSZ; ulimit -f 1; exec ", GALLEON_BINARY_DIR, "/galleon-scheduler --data ",
                                  folder_, "/data --listen 127.0.0.1:0 --metrics 127.0.0.1:0")};
  options.stderr_path = "/dev/null";
  const absl::StatusOr<ProcessId> process = start_process(options);
  ASSERT_TRUE(process.ok()) << process.status();
  const absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process->pid, kPatience);
  ASSERT_TRUE(exit.ok() && exit->has_value());
  const int code = (*exit)->code;
  EXPECT_TRUE(code == 1 || code == 4) << code;
  // There is space again.
  launch();
  EXPECT_EQ(end(SIGTERM).code, 0);
}

TEST(Units, StartAgainWhatMayHealByItselfHoweverOftenItFailed) {
  for (const auto& [unit, never] : {std::pair("scheduler", "RestartPreventExitStatus=2 3\n"),
                                    std::pair("worker", "RestartPreventExitStatus=2\n")}) {
    const absl::StatusOr<std::string> text =
        read_file(absl::StrCat(GALLEON_SOURCE_DIR "/deploy/systemd/galleon-", unit, ".service"));
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_TRUE(absl::StrContains(*text, never)) << unit;
    EXPECT_TRUE(absl::StrContains(*text, "\nRestart=on-failure\n")) << unit;
    EXPECT_TRUE(absl::StrContains(*text, "\nStartLimitIntervalSec=0\n")) << unit;
  }
}

}  // namespace
}  // namespace galleon::server

// The commands against a real scheduler in the same process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/process.h"
#include "server/api/server.h"
#include "server/store/backup.h"
#include "tests/cluster/fake_planner.h"
#include "tests/patience.h"

namespace galleon {
namespace {

using testing::HasSubstr;

class Commands : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-commands-", random_hex(8))).string();
    std::filesystem::create_directory(folder_);
    ASSERT_NO_FATAL_FAILURE(write_planner(folder_));
    server::ServerOptions options;
    options.data = folder_ + "/data";
    options.listen = "127.0.0.1:0";
    options.metrics = "127.0.0.1:0";
    options.planner = folder_ + "/planner";
    options.scheduler.version = "1";
    options.scheduler.queues = {{"default", 1, 0, 0, "default"}, {"lab", 2, 1, 4, "default"}};
    absl::StatusOr<std::unique_ptr<server::Server>> started = server::Server::start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    remote_.server = server_->address();
    JobClient client(remote_.server);
    v1::CreateJobRequest request;
    request.mutable_job()->set_name("x");
    request.mutable_job()->mutable_shape()->set_architecture("llama");
    const absl::StatusOr<v1::JobRecord> job = client.create_job(request);
    ASSERT_TRUE(job.ok()) << job.status();
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  template <typename Command>
  std::string output(Command command, int code = 0) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int ended = command();
    std::fflush(stdout);
    const std::string out = testing::internal::GetCapturedStdout();
    const std::string err = testing::internal::GetCapturedStderr();
    EXPECT_EQ(ended, code) << err;
    return out + err;
  }

  std::string folder_;
  std::unique_ptr<server::Server> server_;
  Remote remote_;
};

TEST_F(Commands, QueuesShowWhatIsConfiguredAndUsed) {
  const std::string out = output([&] { return run_queues(remote_); });
  EXPECT_THAT(out, HasSubstr("QUEUE"));
  EXPECT_THAT(out, HasSubstr("lab"));
  remote_.format = OutputFormat::kJson;
  EXPECT_THAT(output([&] { return run_queues(remote_); }), HasSubstr("\"guaranteed_slots\": 1"));
}

TEST_F(Commands, ReprioritizeMovesAJobAndEventsTellIt) {
  EXPECT_THAT(output([&] { return run_reprioritize(remote_, {.jobs = {"x-1"}}, 7, "lab"); }),
              HasSubstr("x-1 queue lab, priority 7"));
  const std::string events = output([&] { return run_events(remote_, "x-1", false); });
  EXPECT_THAT(events, HasSubstr("jobs/x-1  created: submitted to queue default with priority 0"));
  EXPECT_THAT(events, HasSubstr("jobs/x-1  reprioritized: queue lab, priority 7"));
  EXPECT_THAT(output([&] { return run_reprioritize(remote_, {.jobs = {"x-1"}}, {}, "none"); }, 1),
              HasSubstr("no queue \"none\""));
}

TEST_F(Commands, TopShowsQueuesJobsAndWorkersOnce) {
  const std::string out = output([&] { return run_top(remote_, true); });
  EXPECT_THAT(out, HasSubstr("FAIR SHARE"));
  EXPECT_THAT(out, HasSubstr("WORKER"));
  EXPECT_THAT(out, HasSubstr("x-1"));
}

TEST_F(Commands, EventsAndListsOfWhatIsNotThereSaySo) {
  EXPECT_THAT(output([&] { return run_events(remote_, "none-7", false); }, 1),
              HasSubstr("there is no job jobs/none-7"));
  EXPECT_THAT(output([&] { return run_events(remote_, "none-7", true); }, 1), HasSubstr("there is no job jobs/none-7"));
  EXPECT_THAT(output([&] { return run_events(remote_, "workers/w9", false); }, 1),
              HasSubstr("there is no worker workers/w9"));
  EXPECT_THAT(output([&] { return run_events(remote_, "", false); }), HasSubstr("jobs/x-1"));
  ListArguments none;
  none.which.queue = "none";
  EXPECT_THAT(output([&] { return run_list(remote_, none); }, 1), HasSubstr("there is no queue \"none\""));
  ListArguments empty;
  empty.which.queue = "lab";
  EXPECT_EQ(output([&] { return run_list(remote_, empty); }),
            "JOB  STATE  QUEUE  STEP  LOSS  ATTEMPTS  AGE  MESSAGE\n");
}

TEST_F(Commands, OrdersToUnknownWorkersFailByName) {
  EXPECT_THAT(output([&] { return run_order(remote_, "w9", WorkerOrder::kDrain, "why"); }, 1),
              HasSubstr("there is no worker workers/w9"));
}

TEST_F(Commands, ABackupIsAFileThatCanBeRestored) {
  EXPECT_THAT(output([&] { return run_backup(remote_, folder_ + "/b.db", false); }), HasSubstr("wrote"));
  const absl::StatusOr<server::Restored> restored = server::restore_backup(folder_ + "/b.db", folder_ + "/other");
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->jobs, 1U);
  for (const auto& entry : std::filesystem::directory_iterator(folder_))
    EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr("partial")));
}

TEST_F(Commands, ABackupReplacesAFileOnlyWhenToldToAndNeverAnythingElse) {
  const std::string galleon = absl::StrCat(GALLEON_BINARY_DIR, "/galleon");
  const auto backup = [&](const std::string& path, bool yes) {
    std::vector<std::string> command = {galleon, "admin", "backup", path, "--server", remote_.server};
    if (yes) command.emplace_back("--yes");
    absl::StatusOr<CommandResult> result = run_command(command, kPatience);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(CommandResult());
  };
  const std::string file = folder_ + "/there.db";
  ASSERT_TRUE(write_file_atomically(file, "mine").ok());
  const CommandResult refused = backup(file, false);
  EXPECT_EQ(refused.exit.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("there.db is there already and was left as it is; --yes replaces it"));
  EXPECT_EQ(*read_file(file), "mine");
  EXPECT_EQ(backup(file, true).exit.code, 0);
  EXPECT_NE(*read_file(file), "mine");

  const std::string fifo = folder_ + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  std::filesystem::create_directory(folder_ + "/place");
  std::filesystem::create_symlink(file, folder_ + "/link");
  for (const auto& [name, kind] :
       {std::pair("fifo", "a FIFO"), std::pair("place", "a folder"), std::pair("link", "a symbolic link")}) {
    const std::string path = absl::StrCat(folder_, "/", name);
    const std::filesystem::file_type before = std::filesystem::symlink_status(path).type();
    const CommandResult result = backup(path, true);
    EXPECT_EQ(result.exit.code, 1) << name;
    EXPECT_THAT(result.err, HasSubstr(absl::StrCat(path, " is ", kind, " and not a regular file")));
    EXPECT_EQ(std::filesystem::symlink_status(path).type(), before);
  }
}

TEST_F(Commands, WaitTellsItsOwnErrorsFromTheJobsEnd) {
  const std::string galleon = absl::StrCat(GALLEON_BINARY_DIR, "/galleon");
  const auto code = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), galleon);
    const absl::StatusOr<CommandResult> result = run_command(arguments, kPatience);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->exit.code : -1;
  };
  EXPECT_EQ(code({"wait", "none-1", "--server", remote_.server}), 4);
  EXPECT_EQ(code({"wait", "x-1", "--server", remote_.server, "--no-such-option"}), 4);
  EXPECT_EQ(code({"wait", "x-1", "--server", remote_.server, "--timeout", "0.2"}), 3);
  EXPECT_EQ(code({"wait", "x-1", "--server", "127.0.0.1:1"}), 4);
  ASSERT_EQ(code({"cancel", "x-1", "--server", remote_.server}), 0);
  EXPECT_EQ(code({"wait", "x-1", "--server", remote_.server}), 2);
}

TEST_F(Commands, CompletionOffersCommandsOptionsAndJobs) {
  const std::string program = absl::StrCat(GALLEON_BINARY_DIR, "/galleon");
  const auto complete = [&](const std::string& words, int word) {
    const std::string script = absl::StrCat(
        "export PATH=", GALLEON_BINARY_DIR, ":$PATH GALLEON_SERVER=", remote_.server, "; source <(", program,
        " completion bash); COMP_WORDS=(", words, "); COMP_CWORD=", word, "; _galleon; echo ${COMPREPLY[@]}");
    const absl::StatusOr<CommandResult> result = run_command({"/bin/bash", "-c", script}, kPatience);
    EXPECT_TRUE(result.ok() && result->exit.code == 0) << result.status() << result->err;
    return result.ok() ? result->out : "";
  };
  EXPECT_EQ(complete("galleon repr", 1), "reprioritize\n");
  EXPECT_EQ(complete("galleon reprioritize --pri", 2), "--priority\n");
  EXPECT_EQ(complete("galleon cancel x", 2), "x-1\n");
  EXPECT_EQ(complete("galleon requeue --rea", 2), "--reason\n");
  EXPECT_EQ(complete("galleon admin b", 2), "backup\n");
  EXPECT_EQ(complete("galleon evaluate --mod", 2), "--model\n");
  EXPECT_EQ(complete("galleon generate --prom", 2), "--prompt\n");
  EXPECT_EQ(complete("galleon tokenize --tokenize", 2), "--tokenizer\n");
  const absl::StatusOr<CommandResult> zsh = run_command({program, "completion", "zsh"}, kPatience);
  ASSERT_TRUE(zsh.ok());
  EXPECT_THAT(zsh->out, HasSubstr("#compdef galleon"));
}

}  // namespace
}  // namespace galleon

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "client/tables.h"
#include "common/base/files.h"
#include "tests/client/fake_service.h"
#include "tests/patience.h"

namespace galleon {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;
using testing::Not;

struct Ran {
  int code = 0;
  std::string out;
  std::string err;
};

// Runs a command with its output collected.
template <typename Command>
Ran run(Command command) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Ran ran;
  ran.code = command();
  std::fflush(stdout);
  ran.out = testing::internal::GetCapturedStdout();
  ran.err = testing::internal::GetCapturedStderr();
  return ran;
}

int count_lines(const std::string& text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

TEST(Wait, ExitsByTheStateThatTheJobEndedIn) {
  const std::vector<std::pair<v1::JobRecord::State, int>> expected = {
      {v1::JobRecord::SUCCEEDED, 0}, {v1::JobRecord::FAILED, 1}, {v1::JobRecord::CANCELLED, 2}};
  for (const auto& [state, code] : expected) {
    FakeService service;
    service.records = {record_of(v1::JobRecord::RUNNING), record_of(state, "because")};
    const Ran ran = run([&] { return run_wait({service.address()}, "a-1", 0); });
    EXPECT_EQ(ran.code, code);
    EXPECT_EQ(ran.out, "a-1 " + v1::JobRecord::State_Name(state) + ": because\n");
  }
}

TEST(Wait, ExitsWithThreeAfterItsTimeout) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::RUNNING)};
  const absl::Time start = absl::Now();
  const Ran ran = run([&] { return run_wait({service.address()}, "a-1", 1); });
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.err, "galleon: a-1 is still RUNNING after 1 s\n");
  EXPECT_GE(absl::Now() - start, absl::Seconds(1));
}

TEST(Wait, IsNoLongerThanItsTimeoutWhereTheSchedulerIsSilent) {
  // Takes connections, and says nothing.
  const FileDescriptor silent(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ASSERT_EQ(::bind(silent.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(silent.get(), 16), 0);
  ASSERT_EQ(::getsockname(silent.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const std::string server = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  const absl::Time start = absl::Now();
  const Ran ran = run([&] { return run_wait({server}, "a-1", 1); });
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.err, absl::StrCat("galleon: a-1: the scheduler at ", server, " has not answered after 1 s\n"));
  EXPECT_LT(absl::Now() - start, JobClient::kCallTimeout / 2);
}

TEST(Wait, GoesOnWhileTheSchedulerRestarts) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::RUNNING)};
  std::thread restart([&] {
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard<std::mutex> lock(service.mutex);
      return service.gets > 1;  // so that the first was answered
    })) << "a scheduler that was never there is not waited for";
    service.stop();
    absl::SleepFor(JobClient::kRetryTimeout + absl::Seconds(1));
    service.records = {record_of(v1::JobRecord::SUCCEEDED)};
    service.start();
  });
  const Ran ran = run([&] { return run_wait({service.address()}, "a-1", 0); });
  restart.join();
  EXPECT_EQ(ran.code, 0) << ran.err;
}

TEST(Wait, OfAJobThatIsNotThereIsAnError) {
  FakeService service;
  const Ran ran = run([&] { return run_wait({service.address()}, "a-1", 0); });
  EXPECT_EQ(ran.code, kOwnError);
  EXPECT_EQ(ran.err, "galleon: there is no such job\n");
}

TEST(RemoteCommands, SayInOneSentenceThatNobodyIsThere) {
  FakeService service;
  service.stop();
  const Remote remote{service.address()};
  for (const Ran& ran :
       {run([&] { return run_list(remote, {}); }), run([&] { return run_get(remote, {.jobs = {"a-1"}}); }),
        run([&] { return run_workers(remote); })}) {
    EXPECT_EQ(ran.code, 1);
    EXPECT_EQ(ran.out, "");
    EXPECT_EQ(count_lines(ran.err), 1) << ran.err;
    EXPECT_THAT(ran.err, HasSubstr("cannot reach the scheduler at " + service.address()));
  }
}

TEST(Watch, ShowsStepsAndExitsByTheLastState) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::RUNNING)};
  service.watches = {{record_of(v1::JobRecord::QUEUED, "1st in queue default"),
                      record_of(v1::JobRecord::RUNNING, "", 7), record_of(v1::JobRecord::CANCELLED, "by hand", 7)}};
  const Ran ran = run([&] { return run_watch({service.address()}, "a-1"); });
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.out, HasSubstr("QUEUED: 1st in queue default"));
  EXPECT_THAT(ran.out, HasSubstr("step 7/100"));
  EXPECT_THAT(ran.out, HasSubstr("CANCELLED: by hand"));
}

TEST(Watch, WithJsonPrintsNothingElseOnStandardOutput) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::RUNNING)};
  service.watches = {{record_of(v1::JobRecord::RUNNING, "", 7), record_of(v1::JobRecord::SUCCEEDED, "", 9)}};
  const Ran ran = run([&] { return run_watch({service.address(), OutputFormat::kJson}, "a-1"); });
  EXPECT_EQ(ran.code, 0);
  const Json json = Json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << ran.out;
  EXPECT_EQ(json["state"], "SUCCEEDED");
  EXPECT_THAT(ran.err, HasSubstr("step 7/100"));
}

TEST(List, AsATableHasOneLineForEachJob) {
  FakeService service;
  service.jobs = {record_of(v1::JobRecord::RUNNING, "", 5), record_of(v1::JobRecord::QUEUED, "waits for 2 slots")};
  const Ran ran = run([&] { return run_list({service.address()}, {}); });
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(count_lines(ran.out), 3);
  EXPECT_THAT(ran.out, HasSubstr("5/100"));
  EXPECT_THAT(ran.out, HasSubstr("waits for 2 slots"));
}

TEST(List, AsJsonIsAnArrayWithSnakeCaseNames) {
  FakeService service;
  for (int i = 0; i < 3; ++i) service.jobs.push_back(record_of(v1::JobRecord::RUNNING));
  const Ran ran = run([&] { return run_list({service.address(), OutputFormat::kJson}, {}); });
  const Json json = Json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(json.is_array()) << ran.out;
  ASSERT_EQ(json.size(), 3U);
  EXPECT_EQ(json[2]["job_id"], "a-1");
  EXPECT_TRUE(json[2].contains("create_time_ms"));
}

TEST(List, OfNothingIsAnEmptyArray) {
  FakeService service;
  EXPECT_EQ(Json::parse(run([&] {
                          return run_list({service.address(), OutputFormat::kJson}, {});
                        }).out,
                        nullptr, false),
            Json::array());
  EXPECT_EQ(run([&] { return run_list({service.address(), OutputFormat::kYaml}, {}); }).out, "[]\n");
}

TEST(List, TakesStatesInAnyCaseAndNamesThemForAWrongOne) {
  FakeService service;
  EXPECT_EQ(run([&] { return run_list({service.address()}, {.which = {.states = {"running", "Queued"}}}); }).code, 0);
  ASSERT_EQ(service.listed.size(), 1U);
  EXPECT_THAT(service.listed[0].states(), testing::ElementsAre(v1::JobRecord::RUNNING, v1::JobRecord::QUEUED));
  for (const char* wrong : {"runing", "state_unspecified"}) {
    const Ran ran = run([&] { return run_list({service.address()}, {.which = {.states = {wrong}}}); });
    EXPECT_EQ(ran.code, 1);
    EXPECT_THAT(ran.err, HasSubstr("one of queued, reserved"));
  }
}

TEST(Cancel, SendsTheReason) {
  FakeService service;
  const Ran ran = run([&] { return run_cancel({service.address()}, {.jobs = {"a-1"}}, "a better idea"); });
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out, "a-1 CANCELLING\n");
  ASSERT_EQ(service.cancelled.size(), 1U);
  EXPECT_EQ(service.cancelled[0].name(), "jobs/a-1");
  EXPECT_EQ(service.cancelled[0].reason(), "a better idea");
}

TEST(Cancel, OfAnEndedJobGivesTheSchedulersReason) {
  FakeService service;
  service.status = {grpc::StatusCode::FAILED_PRECONDITION, "jobs/a-1 is already SUCCEEDED"};
  const Ran ran = run([&] { return run_cancel({service.address()}, {.jobs = {"a-1"}}, ""); });
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "galleon: jobs/a-1 is already SUCCEEDED\n");
}

TEST(Logs, ShowWhatATerminalWouldObeyUnlessTheyAreAskedForAsTheyAre) {
  FakeService service;
  v1::ReadLogsResponse piece;
  piece.set_attempt(1);
  piece.set_data(std::string("a\0b\tc\n\x1b[2J", 10));
  service.logs = {piece};
  LogsArguments arguments;
  const Ran shown = run([&] { return run_logs({service.address()}, "a-1", arguments); });
  EXPECT_EQ(shown.code, 0);
  EXPECT_EQ(shown.out, "a\\x00b\tc\n\\e[2J");
  arguments.raw = true;
  const Ran raw = run([&] { return run_logs({service.address()}, "a-1", arguments); });
  EXPECT_EQ(raw.out, piece.data());
}

TEST(RemoteCommands, NothingOfAJobIsObeyedByATerminal) {
  FakeService service;
  const v1::JobRecord job = record_of(v1::JobRecord::FAILED,
                                      "last line: \x1b]0;mine\x07 \xc2\x9b"
                                      "2J");
  service.records = {job};
  service.jobs = {job};
  service.watches = {{job}};
  for (const OutputFormat format : {OutputFormat::kTable, OutputFormat::kJson, OutputFormat::kYaml}) {
    const Remote remote{service.address(), format};
    for (const Ran& ran :
         {run([&] { return run_list(remote, {}); }), run([&] { return run_get(remote, {.jobs = {"a-1"}}); }),
          run([&] { return run_wait(remote, "a-1", 0); }), run([&] { return run_watch(remote, "a-1"); })}) {
      for (const std::string& text : {ran.out, ran.err}) {
        EXPECT_THAT(text, Not(HasSubstr("\x1b")));
        EXPECT_THAT(text, Not(HasSubstr("\x07")));
        EXPECT_THAT(text, Not(HasSubstr("\xc2\x9b")));
      }
      EXPECT_THAT(ran.out + ran.err, HasSubstr("last line: \\"));
    }
  }
}

TEST(TopJobs, ShowWhatRunsThenWhatStartsNextAndSayWhatIsLeftOut) {
  std::vector<v1::JobRecord> jobs;
  for (uint32_t i = 1; i <= 40; ++i) {
    jobs.push_back(record_of(v1::JobRecord::QUEUED));
    jobs.back().set_job_id(absl::StrCat("q-", 41 - i));
    jobs.back().set_queue_position(41 - i);
  }
  jobs.push_back(record_of(v1::JobRecord::RUNNING));
  const std::string text = top_jobs(jobs, 3);
  EXPECT_LT(text.find("a-1 "), text.find("q-1 "));
  EXPECT_LT(text.find("q-1 "), text.find("q-2 "));
  EXPECT_THAT(text, Not(HasSubstr("q-3 ")));
  EXPECT_THAT(text, HasSubstr("and 38 more; galleon list shows all"));
  EXPECT_EQ(count_lines(top_jobs(jobs, 0)), 42);
}

TEST(Compare, SetsJobsSideBySide) {
  FakeService service;
  v1::JobRecord job = record_of(v1::JobRecord::SUCCEEDED, "", 100);
  job.mutable_ledger()->set_optimizer_full_rank_bytes(1000 << 10);
  job.mutable_ledger()->set_saved_ratio(0.75);
  service.records = {job};
  const Ran ran = run([&] { return run_compare({service.address()}, {.jobs = {"a-1", "a-1"}}); });
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.out, HasSubstr("optimizer bytes, with subspaces  250 KiB"));
  EXPECT_THAT(ran.out, HasSubstr("75.0 %"));
  EXPECT_THAT(ran.out, HasSubstr("validation loss                  -"));
}

TEST(Compare, CountsWhatEveryCollectiveSent) {
  FakeService service;
  v1::JobRecord job = record_of(v1::JobRecord::SUCCEEDED, "", 100);
  v1::WireBytes& sent = *job.mutable_progress()->mutable_communication_total();
  sent.set_reduce_scatter(1 << 10);
  sent.set_all_gather(2 << 10);
  sent.set_all_reduce(4 << 10);
  sent.set_reduce(8 << 10);  // exact refreshes
  sent.set_broadcast(16 << 10);
  service.records = {job};
  const Ran ran = run([&] { return run_compare({service.address()}, {.jobs = {"a-1", "a-1"}}); });
  EXPECT_THAT(ran.out, HasSubstr("sent by rank 0                   31.0 KiB"));
}

TEST(Workers, AreATableWithSlotsAndMemory) {
  FakeService service;
  v1::Worker worker;
  worker.set_worker_id("w-1");
  worker.set_state(v1::Worker::READY);
  worker.set_slots(2);
  worker.set_slots_used(1);
  worker.add_devices()->set_free_memory_bytes(3ULL << 30);
  service.workers = {worker};
  const Ran ran = run([&] { return run_workers({service.address()}); });
  EXPECT_THAT(ran.out, HasSubstr("1/2"));
  EXPECT_THAT(ran.out, HasSubstr("3.00 GiB"));
}

}  // namespace
}  // namespace galleon

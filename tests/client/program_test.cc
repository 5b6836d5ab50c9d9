// The galleon executable as a stranger meets it: help, wrong arguments, servers, plans.
#include "absl/strings/match.h"
#include "tests/client/fake_service.h"
#include "tests/client/galleon_program.h"

namespace galleon {
namespace {

using Json = nlohmann::json;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

class Help : public GalleonProgram, public testing::WithParamInterface<const char*> {};

TEST_P(Help, SaysWhatTheCommandDoesWithAnExample) {
  const CommandResult result = galleon({GetParam(), "--help"});
  EXPECT_EQ(result.exit.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr(absl::StrCat("galleon ", GetParam(), " "))) << "an example to copy";
  EXPECT_THAT(result.out, HasSubstr("Example: galleon "));
  EXPECT_EQ(result.err, "");
}

INSTANTIATE_TEST_SUITE_P(EachCommand, Help,
                         testing::Values("train", "plan", "job-file", "evaluate", "generate", "tokenize", "submit",
                                         "list", "get", "watch", "logs", "cancel", "wait", "attempts", "compare",
                                         "workers", "hold", "release", "requeue", "resume", "delete", "reprioritize",
                                         "drain", "forget", "config"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class Program : public GalleonProgram {};

TEST_F(Program, NamesEveryCommandAndWhereToStart) {
  const CommandResult result = galleon({"--help"});
  EXPECT_EQ(result.exit.code, 0);
  EXPECT_THAT(result.out, HasSubstr("Start here: galleon plan job.yaml"));
  for (const char* name : {"train", "plan", "evaluate", "generate", "tokenize", "submit", "list", "get", "watch",
                           "logs", "cancel", "wait", "workers"}) {
    EXPECT_THAT(result.out, HasSubstr(absl::StrCat("\n  ", name, " ")));
  }
}

TEST_F(Program, RefusesAWrongCommandLineWithExitCodeTwo) {
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{},
                                             {"trian", "job.yaml"},
                                             {"train"},
                                             {"train", "job.yaml", "--output", "x", "--ranks", "0"},
                                             {"list", "-o", "xml"},
                                             {"get"}}) {
    const CommandResult result = galleon(wrong);
    EXPECT_EQ(result.exit.code, 2) << absl::StrJoin(wrong, " ");
    EXPECT_THAT(result.err, Not("")) << absl::StrJoin(wrong, " ");
  }
  EXPECT_THAT(galleon({"trian", "job.yaml"}).err, HasSubstr("trian"));
  // With `wait`, 2 says that the job was cancelled.
  EXPECT_EQ(galleon({"wait", "a-1", "--timeout", "-1"}).exit.code, 4);
}

TEST_F(Program, NamesWhatIsAcceptedAndTheCommandsBelowACommand) {
  EXPECT_EQ(
      galleon({"list", "-o", "xml"}).err,
      "--output: \"xml\" is not accepted; one of table, wide, json, yaml\nRun with --help for more information.\n");
  const CommandResult admin = galleon({"admin"});
  EXPECT_EQ(admin.exit.code, 2);
  EXPECT_THAT(admin.err,
              AllOf(HasSubstr("backup "), HasSubstr("init-tls "), HasSubstr("galleon admin [OPTIONS] SUBCOMMAND")));
  EXPECT_THAT(galleon({}).err, HasSubstr("Start here: galleon plan job.yaml"));
  EXPECT_THAT(galleon({"get"}).err, HasSubstr("give a job's id, or select with"));
}

TEST_F(Program, OutputThatCannotBeWrittenIsAnError) {
  FakeService service;
  service.jobs = {record_of(v1::JobRecord::RUNNING)};
  service.records = {record_of(v1::JobRecord::SUCCEEDED)};
  const auto into_a_full_disk = [&](const std::string& command) {
    const absl::StatusOr<CommandResult> result =
        run_command({"/bin/sh", "-c", absl::StrCat(program("galleon"), " ", command, " > /dev/full")}, kPatience);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_THAT(result->err, HasSubstr("galleon: cannot write standard output")) << command;
    return result->exit.code;
  };
  EXPECT_EQ(into_a_full_disk("job-file"), 1);
  EXPECT_EQ(into_a_full_disk("--help"), 1);
  EXPECT_EQ(into_a_full_disk("list --server " + service.address()), 1);
  EXPECT_EQ(into_a_full_disk("wait a-1 --server " + service.address()), 4);
}

TEST_F(Program, SubmitsAJobOfStandardInputWithPathsOfTheCurrentFolder) {
  FakeService service;
  (void)job_file("a", 10);
  const auto submit = [&](const std::string& file) {
    const std::string command =
        absl::StrCat("cd ", folder_, " && ", program("galleon"), " submit - --server ", service.address(), " < ", file);
    const absl::StatusOr<CommandResult> result = run_command({"/bin/sh", "-c", command}, kPatience);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(CommandResult());
  };
  const CommandResult result = submit("a.yaml");
  EXPECT_EQ(result.exit.code, 0) << result.err;
  EXPECT_EQ(result.out, "submitted a-1\n");
  ASSERT_EQ(service.created.size(), 1U);
  EXPECT_EQ(service.created[0].job().data().train(0), std::filesystem::canonical(folder_).string() + "/text.txt");
  EXPECT_EQ(service.created[0].job().shape().hidden(), 64U);
  (void)job_file("b", 10, "", "optimiser: {}\n");
  EXPECT_THAT(submit("b.yaml").err, AllOf(HasSubstr("standard input:"), HasSubstr("optimiser")));
}

TEST_F(Program, CtrlCInAWatchSaysThatTheJobGoesOn) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::RUNNING)};
  service.watches = {{record_of(v1::JobRecord::RUNNING, "", 3)}};
  start({"submit", job_file("a", 10), "--watch", "--server", service.address()});
  ASSERT_TRUE(eventually([&] { return absl::StrContains(text_of("out.log"), "step 3/100"); })) << text_of("err.log");
  send(SIGINT);
  EXPECT_EQ(await_end(), 128 + SIGINT);
  EXPECT_THAT(text_of("err.log"),
              HasSubstr("the job goes on; galleon watch a-1 shows it again, galleon cancel a-1 ends it"));
}

TEST_F(Program, TakesTheServerBeforeAndAfterTheCommand) {
  FakeService service;
  service.jobs = {record_of(v1::JobRecord::RUNNING)};
  EXPECT_THAT(galleon({"--server", service.address(), "list"}).out, HasSubstr("a-1"));
  EXPECT_THAT(galleon({"list", "--server", service.address()}).out, HasSubstr("a-1"));
  ::setenv("GALLEON_SERVER", service.address().c_str(), 1);
  EXPECT_THAT(galleon({"list"}).out, HasSubstr("a-1"));
  ::setenv("GALLEON_SERVER", "127.0.0.1:1", 1);
  EXPECT_THAT(galleon({"list", "--server", service.address()}).out, HasSubstr("a-1")) << "the option wins";
  ::unsetenv("GALLEON_SERVER");
}

TEST_F(Program, SubmitsOnceUnderARequestIdAndPrintsTheJobsId) {
  FakeService service;
  service.unavailable = 1;
  const CommandResult result = galleon({"submit", job_file("a", 10), "--server", service.address()});
  EXPECT_EQ(result.exit.code, 0) << result.err;
  EXPECT_EQ(result.out, "submitted a-1\n");
  ASSERT_EQ(service.created.size(), 2U);
  EXPECT_EQ(service.created[0].request_id().size(), 32U);
  EXPECT_EQ(service.created[0].request_id(), service.created[1].request_id());
  EXPECT_EQ(service.created[0].job().shape().hidden(), 64U)
      << "the model's shape is resolved before the job is handed over";
}

TEST_F(Program, SubmitAndWaitWithJsonIsOneDocument) {
  FakeService service;
  service.records = {record_of(v1::JobRecord::RUNNING), record_of(v1::JobRecord::CANCELLED)};
  service.watches = {{record_of(v1::JobRecord::RUNNING, "", 3), record_of(v1::JobRecord::CANCELLED)}};
  for (const char* until : {"--wait", "--watch"}) {
    const CommandResult result =
        galleon({"submit", job_file("a", 10), until, "-o", "json", "--server", service.address()});
    EXPECT_EQ(result.exit.code, 2) << result.err;
    EXPECT_EQ(Json::parse(result.out, nullptr, false).value("state", ""), "CANCELLED") << result.out;
  }
}

TEST_F(Program, DoesNotSubmitAJobFileWithAMistake) {
  FakeService service;
  const std::string path = job_file("a", 10, "", "optimiser: {}\n");
  const CommandResult result = galleon({"submit", path, "--server", service.address()});
  EXPECT_EQ(result.exit.code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("galleon: "), HasSubstr("optimiser"), HasSubstr("optimizer")));
  EXPECT_TRUE(service.created.empty());
}

TEST_F(Program, PlansAJobAsJsonWithSnakeCaseNames) {
  const CommandResult result = galleon({"plan", job_file("a", 10, "", "parallel: {ranks: 2}\n"), "-o", "json"});
  EXPECT_EQ(result.exit.code, 0) << result.err;
  const Json plan = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(plan.is_object()) << result.out;
  ASSERT_EQ(plan["ranks"].size(), 2U);
  EXPECT_GT(std::stoll(plan["ranks"][0]["peak_bytes"].get<std::string>()), 0);
  EXPECT_GT(std::stoll(plan["ranks"][1]["memory"]["optimizer_states"].get<std::string>()), 0);
  EXPECT_GT(plan["saved_ratio"].get<double>(), 0.0);
}

TEST_F(Program, PlansAJobAsATable) {
  const CommandResult result = galleon({"plan", job_file("a", 10)});
  EXPECT_EQ(result.exit.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("optimizer states"));
  EXPECT_THAT(result.out, HasSubstr("% saved"));
}

TEST_F(Program, APlanSaysWhichDeviceAutoCameTo) {
  const std::string open = galleon({"plan", job_file("a", 10)}).out;
  EXPECT_THAT(open, HasSubstr("resources.device is auto"));
  EXPECT_EQ(absl::StrContains(open, "1 rank on cpu"), absl::StrContains(open, "device           the CPU")) << open;
  const std::string chosen = galleon({"plan", job_file("a", 10, "", "resources: {device: cuda}\n")}).out;
  EXPECT_THAT(chosen, AllOf(HasSubstr("1 rank on cuda"), Not(HasSubstr("device is auto"))));
}

TEST_F(Program, NamesAJobFileThatIsNotThere) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"plan", folder_ + "/none.yaml"},
                                             {"train", folder_ + "/none.yaml", "--output", folder_ + "/run"},
                                             {"submit", folder_ + "/none.yaml"}}) {
    const CommandResult result = galleon(command);
    EXPECT_EQ(result.exit.code, 1);
    EXPECT_THAT(result.err, HasSubstr(folder_ + "/none.yaml"));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/run"));
}

TEST_F(Program, PrintsTheJobFileReference) {
  const CommandResult result = galleon({"job-file"});
  EXPECT_EQ(result.exit.code, 0);
  EXPECT_THAT(result.out, HasSubstr("refresh_interval"));
}

}  // namespace
}  // namespace galleon

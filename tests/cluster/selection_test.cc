// Which jobs a command is about, and what is done to each, against a real scheduler in the same process.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/process.h"
#include "proto/jobfile/jobfile.h"
#include "server/api/server.h"
#include "tests/cluster/fake_planner.h"
#include "tests/patience.h"

namespace galleon {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class Selected : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-selection-", random_hex(8))).string();
    std::filesystem::create_directory(folder_);
    ASSERT_NO_FATAL_FAILURE(write_planner(folder_));
    server::ServerOptions options;
    options.data = folder_ + "/data";
    options.listen = "127.0.0.1:0";
    options.metrics = "127.0.0.1:0";
    options.planner = folder_ + "/planner";
    options.scheduler.version = "1";
    options.scheduler.lease_ms = 2'000;
    options.scheduler.queues = {{"default", 1, 0, 0, "default"}, {"lab", 2, 0, 0, "default"}};
    absl::StatusOr<std::unique_ptr<server::Server>> started = server::Server::start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    remote_.server = server_->address();
    client_ = std::make_unique<JobClient>(remote_.server);
    submit("a", "default", "nlp");
    submit("b", "lab", "nlp");
    submit("c", "lab", "vision");
  }
  void TearDown() override {
    client_.reset();
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  void submit(const std::string& name, const std::string& queue, const std::string& team) {
    const absl::StatusOr<v1::Job> job =
        parse_job(absl::StrCat("name: ", name, "\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\n",
                               "data: {train: [/data/x.txt]}\ntraining: {steps: 3}\nlabels: {team: ", team,
                               ", z: '1', a: '2'}\n", "note: \"for the paper\"\nscheduling: {queue: ", queue, "}\n"),
                  "job.yaml", "");
    ASSERT_TRUE(job.ok()) << job.status();
    v1::CreateJobRequest request;
    *request.mutable_job() = *job;
    request.mutable_job()->mutable_shape()->set_architecture("llama");
    const absl::StatusOr<v1::JobRecord> made = client_->create_job(request);
    ASSERT_TRUE(made.ok()) << made.status();
  }
  v1::JobRecord get(const std::string& id) {
    const absl::StatusOr<v1::JobRecord> record = client_->get_job(id);
    EXPECT_TRUE(record.ok()) << record.status();
    return record.value_or(v1::JobRecord());
  }
  template <typename Command>
  std::string output(Command command, int code = 0) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int ended = command();
    std::fflush(stdout);
    const std::string out = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    EXPECT_EQ(ended, code) << err_;
    return out;
  }
  // A worker that says nothing after its registration, or once that it holds nothing.
  void join(const std::string& id, bool speaks) {
    const auto workers =
        v1::WorkerService::NewStub(grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
    v1::RegisterWorkerRequest request;
    v1::Worker& worker = *request.mutable_worker();
    worker.set_worker_id(id);
    worker.set_version("1");
    worker.set_incarnation(id);
    worker.set_slots(1);
    worker.add_devices()->set_kind("cpu");
    v1::RegisterWorkerResponse registered;
    grpc::ClientContext first;
    ASSERT_TRUE(workers->RegisterWorker(&first, request, &registered).ok());
    if (!speaks) return;
    v1::SyncWorkerRequest sync;
    sync.set_worker_id(id);
    sync.set_incarnation(id);
    sync.set_sequence(1);
    sync.set_session(registered.session());
    v1::SyncWorkerResponse answer;
    grpc::ClientContext second;
    ASSERT_TRUE(workers->SyncWorker(&second, sync, &answer).ok());
  }
  // The program itself, without a terminal.
  CommandResult galleon(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), absl::StrCat(GALLEON_BINARY_DIR, "/galleon"));
    arguments.insert(arguments.end(), {"--server", remote_.server});
    absl::StatusOr<CommandResult> result = run_command(arguments, kPatience);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(CommandResult());
  }

  std::string folder_;
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<JobClient> client_;
  Remote remote_;
  std::string err_;
};

TEST_F(Selected, AnOrderIsGivenToEachJobThatIsNamedAndSaysWhichFailed) {
  const std::string out = output([&] { return run_cancel(remote_, {.jobs = {"a-1", "none-9", "b-2"}}, ""); }, 1);
  EXPECT_EQ(out, "a-1 CANCELLED\nb-2 CANCELLED\n");
  EXPECT_EQ(err_, "galleon: none-9: there is no job jobs/none-9\ngalleon: 1 of 3 failed: none-9\n");
  EXPECT_EQ(get("c-3").state(), v1::JobRecord::QUEUED);
}

TEST_F(Selected, FiltersAreAllTrueOfWhatIsOrdered) {
  const std::string out =
      output([&] { return run_hold(remote_, {.queue = "lab", .labels = {"team=nlp"}, .yes = true}, "why", false); });
  EXPECT_THAT(out, HasSubstr("b-2 held, QUEUED: position 1 of 2; is held: why"));
  EXPECT_TRUE(get("b-2").held());
  EXPECT_FALSE(get("a-1").held());
  EXPECT_FALSE(get("c-3").held());
  EXPECT_THAT(output([&] { return run_release(remote_, {.all = true, .yes = true}); }), HasSubstr("b-2 released"));
  EXPECT_FALSE(get("b-2").held());
}

TEST_F(Selected, WithoutATerminalASelectionNeedsYes) {
  const CommandResult refused = galleon({"cancel", "--queue", "lab"});
  EXPECT_EQ(refused.exit.code, 1);
  EXPECT_EQ(refused.err, "galleon: would cancel 2 jobs: c-3, b-2; nothing was done; --yes does it\n");
  EXPECT_EQ(get("b-2").state(), v1::JobRecord::QUEUED);
  const CommandResult done = galleon({"cancel", "--queue", "lab", "--yes"});
  EXPECT_EQ(done.exit.code, 0) << done.err;
  EXPECT_EQ(done.out, "c-3 CANCELLED\nb-2 CANCELLED\n");
}

TEST_F(Selected, NothingSelectedIsAnErrorAndSoIsNothingAskedFor) {
  EXPECT_EQ(output([&] { return run_cancel(remote_, {.labels = {"team=none"}, .yes = true}, ""); }, 1), "");
  EXPECT_EQ(err_, "galleon: no job is selected that galleon cancel takes\n");
  EXPECT_EQ(galleon({"cancel"}).exit.code, 2);
  EXPECT_EQ(galleon({"cancel", "a-1", "--all", "--yes"}).exit.code, 1);
  EXPECT_THAT(galleon({"delete", "--state", "queued", "--yes"}).err,
              HasSubstr("--state queued: galleon delete takes jobs that are succeeded, failed, cancelled"));
  EXPECT_THAT(galleon({"cancel", "--label", "team", "--yes"}).err, HasSubstr("--label team: KEY=VALUE is accepted"));
  EXPECT_THAT(galleon({"cancel", "--label", "te am=x", "--yes"}).err, HasSubstr("is no key of a label"));
  EXPECT_THAT(galleon({"cancel", "--queue", "none", "--yes"}).err, HasSubstr("there is no queue \"none\""));
  EXPECT_EQ(get("a-1").state(), v1::JobRecord::QUEUED);
}

TEST_F(Selected, SeveralJobsAreOneDocument) {
  remote_.format = OutputFormat::kJson;
  const Json several = Json::parse(output([&] { return run_hold(remote_, {.jobs = {"a-1", "b-2"}}, "", false); }));
  ASSERT_EQ(several.size(), 2U);
  EXPECT_EQ(several[1]["job_id"], "b-2");
  EXPECT_EQ(several[1]["held"], true);
  const Json one = Json::parse(output([&] { return run_release(remote_, {.jobs = {"a-1"}}); }));
  EXPECT_EQ(one["job_id"], "a-1");
  EXPECT_EQ(Json::parse(output([&] { return run_get(remote_, {.jobs = {"a-1", "b-2"}}); })).size(), 2U);
  EXPECT_EQ(Json::parse(output([&] { return run_get(remote_, {.queue = "lab"}); })).size(), 2U);
}

TEST_F(Selected, ListFiltersSortsAndLimits) {
  const auto ids = [&](const ListArguments& arguments) {
    remote_.format = OutputFormat::kJson;
    std::vector<std::string> found;
    for (const Json& job : Json::parse(output([&] { return run_list(remote_, arguments); })))
      found.push_back(job["job_id"]);
    return found;
  };
  using Ids = std::vector<std::string>;
  EXPECT_EQ(ids({}), (Ids{"c-3", "b-2", "a-1"}));
  EXPECT_EQ(ids({.limit = 2}), (Ids{"c-3", "b-2"}));
  EXPECT_EQ(ids({.sort = "oldest", .limit = 2}), (Ids{"a-1", "b-2"}));
  EXPECT_EQ(ids({.which = {.labels = {"team=nlp", "a=2"}}}), (Ids{"b-2", "a-1"}));
  EXPECT_EQ(ids({.which = {.queue = "lab", .labels = {"team=nlp"}}}), (Ids{"b-2"}));
  EXPECT_EQ(ids({.which = {.owner = "nobody"}}), Ids());
  EXPECT_EQ(ids({.since = "1h"}).size(), 3U);
  EXPECT_EQ(ids({.since = "2100-01-01"}), Ids());
  (void)output([&] { return run_cancel(remote_, {.jobs = {"b-2"}}, ""); });
  EXPECT_EQ(ids({.sort = "ended"}).back(), "b-2");
  remote_.format = OutputFormat::kTable;
  (void)output([&] { return run_list(remote_, {.since = "soon"}); }, 1);
  EXPECT_THAT(err_, HasSubstr("--since soon is not accepted; a duration such as 10m"));
  const std::string wide = output([&] { return run_list(remote_, {.wide = true}); });
  EXPECT_THAT(wide, HasSubstr("LABELS"));
  EXPECT_THAT(wide, HasSubstr("a=2, team=vision, z=1"));
  EXPECT_THAT(wide, HasSubstr("for the paper"));
}

TEST_F(Selected, GetShowsLabelsAndNoteAndGivesTheJobFileBack) {
  const std::string shown = output([&] { return run_get(remote_, {.jobs = {"a-1"}}); });
  EXPECT_THAT(shown, HasSubstr("a=2, team=nlp, z=1"));
  EXPECT_THAT(shown, HasSubstr("for the paper"));
  const std::string file = output([&] { return run_get(remote_, {.jobs = {"a-1"}}, true); });
  const absl::StatusOr<v1::Job> again = parse_job(file, "a.yaml", "");
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << file;
  v1::Job job = get("a-1").job();
  job.clear_shape();
  EXPECT_EQ(again->ShortDebugString(), job.ShortDebugString());
}

TEST_F(Selected, ADeletedJobIsGoneAndAResumedOneIsBack) {
  (void)output([&] { return run_cancel(remote_, {.all = true, .yes = true}, ""); });
  EXPECT_THAT(output([&] { return run_resume(remote_, {.jobs = {"a-1"}}, {}); }),
              HasSubstr("a-1 goes on from its beginning: position 1 of 1"));
  EXPECT_EQ(get("a-1").state(), v1::JobRecord::QUEUED);
  EXPECT_EQ(output([&] { return run_delete(remote_, {.jobs = {"a-1"}}, false); }, 1), "");
  EXPECT_EQ(err_, "galleon: jobs/a-1 is QUEUED; galleon cancel ends it, then it can be deleted\n");
  EXPECT_EQ(output([&] { return run_delete(remote_, {.all = true, .yes = true}, false); }),
            "c-3 deleted\nb-2 deleted\n");
  EXPECT_EQ(client_->get_job("b-2").status().code(), absl::StatusCode::kNotFound);
  (void)output([&] { return run_resume(remote_, {.jobs = {"a-1"}}, {"training.steps=9"}); }, 1);
  EXPECT_THAT(err_, HasSubstr("a-1 is QUEUED; a job that has ended goes on as a new one"));
}

TEST_F(Selected, ADrainIsWaitedForAndAWorkerThatIsGoneForgotten) {
  join("w", true);
  EXPECT_EQ(output([&] {
              return run_order(remote_, "w", WorkerOrder::kDrain, "disk", {true, 60});
            }),
            "w DRAINED: drained: disk\n");
  join("silent", false);
  (void)output([&] { return run_order(remote_, "silent", WorkerOrder::kDrain, "", {true, 0.3}); }, 3);
  EXPECT_THAT(err_, HasSubstr("silent is still DRAINING after 0 s, and goes on: has not said yet what it holds"));
  (void)output([&] { return run_order(remote_, "silent", WorkerOrder::kDrain, "", {false, 5}); }, 1);
  EXPECT_THAT(err_, HasSubstr("--deadline belongs to --wait"));
  // Its lease ends, so that a drain need wait no longer.
  EXPECT_THAT(output([&] {
                return run_order(remote_, "silent", WorkerOrder::kDrain, "", {true, 0});
              }),
              HasSubstr("silent GONE"));
  EXPECT_THAT(output([&] { return run_forget(remote_, "silent"); }), HasSubstr("silent is forgotten\n"));
  (void)output([&] { return run_forget(remote_, "silent"); }, 1);
  EXPECT_THAT(err_, HasSubstr("there is no worker workers/silent"));
}

TEST_F(Selected, WhatIsSelectedByItsStateIsLeftOnceThatIsAnother) {
  // Between the look and the order the job is released, so that its etag is another.
  const v1::JobRecord before = get("a-1");
  ASSERT_TRUE(client_->cancel_job("a-1", "").ok());
  EXPECT_EQ(client_->cancel_job("a-1", "", before.etag()).status().code(), absl::StatusCode::kAborted);
  Selection selection{.states = {"queued"}, .yes = true};
  bool changed = false;
  const std::string out = output([&] {
    return order_each(remote_, *client_, selection, {"cancel", live_states()},
                      [&](const std::string& name, const std::string& etag) -> absl::StatusOr<std::string> {
                        // Somebody else is faster with one of them.
                        if (!std::exchange(changed, true) && !client_->cancel_job(name, "").ok())
                          return absl::InternalError("cannot cancel");
                        const absl::StatusOr<v1::JobRecord> done = client_->cancel_job(name, "", etag);
                        if (!done.ok()) return done.status();
                        return done->job_id() + "\n";
                      });
  });
  EXPECT_EQ(out, "b-2\n");
  EXPECT_EQ(err_, "c-3 has changed meanwhile, is not selected any more, and was left as it is\n");
}

// A group of three beside the other jobs.
v1::CreateGroupRequest sweep_of(const v1::Job& job) {
  v1::CreateGroupRequest request;
  request.set_group_name("s");
  for (int i = 1; i <= 3; ++i) {
    v1::CreateGroupRequest::Member& member = *request.add_members();
    *member.mutable_job() = job;
    member.mutable_job()->set_name(absl::StrCat("s-seed-", i));
    member.mutable_job()->mutable_model()->set_seed(static_cast<uint64_t>(i));
    member.add_settings()->set_key("model.seed");
    member.mutable_settings(0)->set_value(absl::StrCat(i));
  }
  return request;
}

TEST_F(Selected, AGroupIsOneLineAndIsOrderedAsOne) {
  ASSERT_TRUE(client_->create_group(sweep_of(get("a-1").job())).ok());
  const std::string list = output([&] { return run_list(remote_, {}); });
  EXPECT_THAT(list, HasSubstr("s-g4  3 queued  default  -     -     -"));
  EXPECT_THAT(list, Not(HasSubstr("s-seed")));
  EXPECT_THAT(output([&] { return run_list(remote_, {.limit = 2}); }), HasSubstr("\nc-3 "));
  EXPECT_THAT(output([&] { return run_list(remote_, {.which = {.states = {"queued"}}}); }), HasSubstr("3 queued"));
  EXPECT_THAT(output([&] { return run_list(remote_, {.members = true}); }), HasSubstr("s-seed-3-6"));
  EXPECT_THAT(output([&] { return run_list(remote_, {.which = {.group = "s-g4"}}); }), HasSubstr("s-seed-1-4"));
  EXPECT_EQ(output([&] { return run_cancel(remote_, {.jobs = {"s-seed-2-5"}}, ""); }), "s-seed-2-5 CANCELLED\n");
  EXPECT_THAT(output([&] { return run_list(remote_, {}); }), HasSubstr("s-g4  2 queued, 1 cancelled"));
  const std::string shown = output([&] { return run_get(remote_, {.jobs = {"s-g4"}}); });
  EXPECT_THAT(shown, HasSubstr("sweeps     model.seed"));
  EXPECT_THAT(shown, HasSubstr("s-seed-2-5  CANCELLED"));
  EXPECT_THAT(output([&] { return run_hold(remote_, {.jobs = {"s-g4"}}, "wait", false); }),
              HasSubstr("s-seed-1-4 held"));
  EXPECT_THAT(output([&] { return run_release(remote_, {.group = "s-g4", .yes = true}); }),
              HasSubstr("s-seed-3-6 released"));
  EXPECT_THAT(galleon({"wait", "s-g4", "--timeout", "0.1"}).err, HasSubstr("s-g4 has not ended"));
  // All that it takes, and no more: one has ended already.
  EXPECT_EQ(galleon({"cancel", "s-g4"}).out, "s-seed-1-4 CANCELLED\ns-seed-3-6 CANCELLED\n");
  EXPECT_EQ(galleon({"wait", "s-g4"}).exit.code, 2);
  EXPECT_THAT(galleon({"cancel", "s-g4"}).err, HasSubstr("no job of s-g4 is such that galleon cancel takes it"));
  EXPECT_THAT(galleon({"watch", "s-g4"}).err, HasSubstr("s-g4 is a group"));
  EXPECT_THAT(galleon({"cancel", "none-g9"}).err, HasSubstr("there is no group groups/none-g9"));
  EXPECT_EQ(get("a-1").state(), v1::JobRecord::QUEUED);
  remote_.format = OutputFormat::kJson;
  const Json whole = Json::parse(output([&] { return run_get(remote_, {.jobs = {"s-g4"}}); }));
  EXPECT_EQ(whole["group"]["group_id"], "s-g4");
  EXPECT_EQ(whole["jobs"].size(), 3U);
  EXPECT_EQ(whole["jobs"][0]["settings"][0]["value"], "1");
  remote_.format = OutputFormat::kTable;
  EXPECT_EQ(galleon({"delete", "s-g4"}).exit.code, 0);
  EXPECT_THAT(galleon({"get", "s-g4"}).err, HasSubstr("there is no group groups/s-g4"));
}

TEST_F(Selected, AGroupIsComparedByWhatItsJobsHaveOtherwise) {
  ASSERT_TRUE(client_->create_group(sweep_of(get("a-1").job())).ok());
  EXPECT_THAT(galleon({"compare", "s-g4"}).out, HasSubstr("JOB         model.seed  STATE"));
  EXPECT_THAT(galleon({"compare", "s-g4", "--csv"}).out, HasSubstr("s-seed-2-5,2,QUEUED,,0,0,,,,"));
  const std::string picture = folder_ + "/curves.svg";
  EXPECT_EQ(galleon({"compare", "s-g4", "a-1", "--plot", picture, "--log"}).exit.code, 0);
  EXPECT_THAT(read_file(picture).value_or(""), HasSubstr("s-seed-1-4: model.seed=1"));
  EXPECT_THAT(galleon({"compare", "s-g4", "--log"}).err, HasSubstr("give --plot FILE.svg"));
  EXPECT_THAT(galleon({"compare", "s-g4", "--plot", folder_}).err, HasSubstr("is a folder"));
  EXPECT_EQ(Json::parse(galleon({"compare", "s-g4", "-o", "json"}).out).size(), 3U);
}

}  // namespace
}  // namespace galleon

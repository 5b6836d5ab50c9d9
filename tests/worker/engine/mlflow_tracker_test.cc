// What an MLflow server is told of a metrics.jsonl, and when: at a fake server that goes, fails and forgets.
#include "worker/engine/tracking/mlflow_tracker.h"

#include "absl/strings/escaping.h"
#include "common/base/append_file.h"
#include "tests/fake_mlflow.h"
#include "tests/patience.h"
#include "tests/worker/engine/run_support.h"

namespace galleon {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;

constexpr absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

std::string step_line(int64_t step) {
  return absl::StrCat(R"({"step":)", step, R"(,"loss":)", 10.0 - static_cast<double>(step), R"(,"tokens":)", 100 * step,
                      R"(,"time":)", 1'700'000'000 + step, "}\n");
}

class MlflowTrackerTest : public testing::Test {
 protected:
  MlflowTrackerTest() {
    run_.experiment = "novels";
    run_.name = "first";
    run_.mathematics = "optimizer.learning_rate: 0.01\n";
    run_.parameters = {{"optimizer.learning_rate", "0.01"}, {"model.source", "preset:tiny"}};
    run_.tags = {{"galleon.attempt", "1"}};
    run_.metrics = folder_.path() + "/metrics.jsonl";
    run_.memory = folder_.path() + "/mlflow.json";
    pace_.between_calls = absl::Milliseconds(1);
    pace_.first_pause = absl::Milliseconds(2);
    pace_.longest_pause = absl::Milliseconds(10);
    write_steps(0);
  }

  // metrics.jsonl holds these, as after a resume at step `last`.
  void write_steps(int64_t last) {
    std::string text;
    for (int64_t step = 1; step <= last; ++step) text += step_line(step);
    folder_.write("metrics.jsonl", text);
  }
  void append(const std::string& text) {
    ASSERT_TRUE(append_file(run_.metrics, text).ok());
    if (tracker_ != nullptr) tracker_->more();
  }

  void start(const std::map<std::string, std::string>& environment = {}) {
    const absl::StatusOr<MlflowAccess> access = mlflow_access(server_.url(), [environment](const std::string& name) {
      const auto found = environment.find(name);
      return found == environment.end() ? std::string() : found->second;
    });
    ASSERT_TRUE(access.ok()) << access.status();
    absl::StatusOr<std::unique_ptr<MlflowTracker>> tracker = MlflowTracker::start(
        *access, run_, [] { return kStart; }, pace_);
    ASSERT_TRUE(tracker.ok()) << tracker.status();
    tracker_ = *std::move(tracker);
  }
  std::string finish(RunEnd end = RunEnd::kFinished, absl::Duration patience = kPatience) {
    std::string unsent = tracker_->finish(end, patience);
    for (std::string& note : tracker_->notes()) notes_.push_back(std::move(note));
    tracker_.reset();
    return unsent;
  }
  bool caught_up() {
    return eventually([this] { return !tracker_->behind(); });
  }
  static std::vector<int64_t> steps_of(const FakeMlflowRun& run, const std::string& name = "train/loss") {
    std::vector<int64_t> steps;
    for (const auto& [metric, step, value, time] : run.metrics) {
      if (metric == name) steps.push_back(step);
    }
    return steps;
  }
  bool noted(const std::string& text) {
    return eventually([&] {
      for (std::string& note : tracker_->notes()) notes_.push_back(std::move(note));
      return std::any_of(notes_.begin(), notes_.end(),
                         [&](const std::string& note) { return absl::StrContains(note, text); });
    });
  }

  TestFolder folder_;
  FakeMlflow server_;
  MlflowRun run_;
  MlflowPace pace_;
  std::unique_ptr<MlflowTracker> tracker_;
  std::vector<std::string> notes_;
};

TEST_F(MlflowTrackerTest, TellsParametersTagsMetricsWithTheirTimesAndTheEnd) {
  write_steps(2);
  start();
  append(R"({"step":2,"validation_loss":1.5,"perplexity":4.48,"metrics":{"accuracy":0.75},"time":1700000009.25})"
         "\n");
  EXPECT_EQ(finish(), "");
  const FakeMlflowRun run = server_.run();
  EXPECT_EQ(run.name, "first");
  EXPECT_EQ(run.experiment_id, "1") << "made beside Default";
  EXPECT_EQ(run.status, "FINISHED");
  EXPECT_EQ(run.start_ms, absl::ToUnixMillis(kStart));
  EXPECT_EQ(run.end_ms, absl::ToUnixMillis(kStart));
  EXPECT_THAT(run.parameters,
              ElementsAre(Pair("model.source", "preset:tiny"), Pair("optimizer.learning_rate", "0.01")));
  EXPECT_THAT(run.tags, Contains(Pair("galleon.attempt", "1")));
  EXPECT_THAT(run.metrics, Contains(std::make_tuple("train/loss", 1, 9.0, 1'700'000'001'000)));
  EXPECT_THAT(run.metrics, Contains(std::make_tuple("train/tokens", 2, 200.0, 1'700'000'002'000)));
  EXPECT_THAT(run.metrics, Contains(std::make_tuple("validation/loss", 2, 1.5, 1'700'000'009'250)));
  EXPECT_THAT(run.metrics, Contains(std::make_tuple("validation/accuracy", 2, 0.75, 1'700'000'009'250)));
  EXPECT_THAT(notes_, Contains(HasSubstr(server_.url() + "/#/experiments/1/runs/run1")));
}

TEST_F(MlflowTrackerTest, LosesNothingAndRepeatsNothingWhileTheServerComesAndGoes) {
  server_.stop();
  write_steps(100);
  start();
  ASSERT_TRUE(noted("MLflow is told nothing for now, training goes on: " + server_.url()));
  server_.start();
  ASSERT_TRUE(caught_up());
  server_.stop();
  for (int64_t step = 101; step <= 150; ++step) append(step_line(step));
  ASSERT_TRUE(noted(server_.url() + " takes metrics again"));
  server_.start();
  EXPECT_EQ(finish(), "");
  std::vector<int64_t> expected(150);
  for (int64_t i = 0; i < 150; ++i) expected[i] = i + 1;
  EXPECT_EQ(steps_of(server_.run()), expected);
}

TEST_F(MlflowTrackerTest, TriesAgainAfterErrorsOverloadAndCutConnections) {
  for (const int answer : {500, 502, 503, 429, FakeMlflow::kHangUp}) {
    // Of each kind of call: experiment, run, parameters, metrics, end.
    server_.answer_next({answer, 0, answer, 0, answer, 0, answer, 0, answer});
    run_.memory = absl::StrCat(folder_.path(), "/", answer, ".json");
    server_.forget_runs();
    write_steps(3);
    start();
    EXPECT_EQ(finish(), "") << answer;
    EXPECT_THAT(steps_of(server_.run()), ElementsAre(1, 2, 3)) << answer;
    EXPECT_EQ(server_.run().status, "FINISHED") << answer;
  }
}

TEST_F(MlflowTrackerTest, MakesOneRunWhereTheAnswerToItsCreationWasLost) {
  write_steps(2);
  server_.answer_next({0, 0, FakeMlflow::kLost, FakeMlflow::kHangUp});  // the experiment is looked for and made
  start();
  EXPECT_EQ(finish(), "");
  EXPECT_THAT(steps_of(server_.run()), ElementsAre(1, 2));

  // Nor where the process has ended in between.
  server_.forget_runs();
  run_.memory += "-other";
  server_.answer_all(500);
  server_.answer_next({0, FakeMlflow::kLost});
  start();
  ASSERT_TRUE(eventually([&] { return server_.runs().size() == 1; }));
  tracker_.reset();
  server_.answer_all(0);
  start();
  EXPECT_EQ(finish(), "");
  EXPECT_THAT(steps_of(server_.run()), ElementsAre(1, 2));
}

TEST_F(MlflowTrackerTest, TakesTheSameRunUpAgainAndTellsWhatIsNew) {
  write_steps(7);
  start();
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(finish(RunEnd::kKilled), "");
  EXPECT_EQ(server_.run().status, "KILLED");
  // Resumed at step 4: steps 5 to 7 are made again and are the same.
  write_steps(4);
  run_.tags = {{"galleon.attempt", "2"}};
  run_.parameters = {{"optimizer.learning_rate", "0.01"}, {"parallel.ranks", "2"}};
  start();
  ASSERT_TRUE(eventually([&] { return server_.run().status == "RUNNING"; }));
  for (int64_t step = 5; step <= 9; ++step) append(step_line(step));
  EXPECT_EQ(finish(), "");
  const FakeMlflowRun run = server_.run();
  EXPECT_THAT(steps_of(run), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_EQ(run.status, "FINISHED");
  EXPECT_EQ(run.tags.at("galleon.attempt"), "2");
  EXPECT_EQ(run.parameters.count("parallel.ranks"), 0U) << "parameters are those of the beginning";

  // A run of which all is told leaves the server alone.
  const size_t calls = server_.calls();
  start();
  EXPECT_EQ(finish(), "");
  EXPECT_EQ(server_.calls(), calls);
}

TEST_F(MlflowTrackerTest, GivesUpInTimeSaysWhatIsLeftAndTellsItNextTime) {
  write_steps(5);
  start();
  ASSERT_TRUE(caught_up());
  server_.answer_all(FakeMlflow::kNever);
  append(step_line(6) + step_line(7));
  const absl::Time before = absl::Now();
  EXPECT_THAT(finish(RunEnd::kFinished, absl::Milliseconds(50)),
              testing::AllOf(testing::StartsWith("2 lines of metrics.jsonl were not sent to MLflow: "),
                             HasSubstr("it is sent where the run goes on")));
  // libcurl asks whether to stop at least once a second.
  EXPECT_LT(absl::Now() - before, pace_.call_timeout);
  server_.answer_all(0);
  EXPECT_EQ(server_.run().status, "RUNNING");
  start();
  EXPECT_EQ(finish(), "");
  EXPECT_THAT(steps_of(server_.run()), ElementsAre(1, 2, 3, 4, 5, 6, 7));
  EXPECT_EQ(server_.run().status, "FINISHED");
}

TEST_F(MlflowTrackerTest, AnotherComputationIsAnotherRun) {
  write_steps(2);
  start();
  EXPECT_EQ(finish(RunEnd::kFailed), "");
  EXPECT_EQ(server_.run().status, "FAILED");
  run_.mathematics = "optimizer.learning_rate: 0.02\n";
  run_.parameters = {{"optimizer.learning_rate", "0.02"}};
  start();
  EXPECT_EQ(finish(), "");
  const std::map<std::string, FakeMlflowRun> runs = server_.runs();
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs.at("run2").parameters.at("optimizer.learning_rate"), "0.02");
  EXPECT_THAT(steps_of(runs.at("run2")), ElementsAre(1, 2));
}

TEST_F(MlflowTrackerTest, ARunThatTheServerHasForgottenBeginsAgainFromItsFirstStep) {
  write_steps(3);
  start();
  EXPECT_EQ(finish(RunEnd::kKilled), "");
  server_.forget_runs();
  append(step_line(4));
  start();
  EXPECT_EQ(finish(), "");
  EXPECT_THAT(steps_of(server_.run()), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(notes_, Contains(HasSubstr("does not know run run1 any more")));
}

TEST_F(MlflowTrackerTest, WhatIsRefusedForGoodIsToldOnceWithTheServersReason) {
  write_steps(3);
  for (const int answer : {400, 404, 401, 302}) {
    run_.memory = absl::StrCat(folder_.path(), "/", answer, ".json");
    server_.answer_all(answer);
    start();
    ASSERT_TRUE(noted(absl::StrCat("MLflow is told nothing more, training goes on: ", server_.url(), " answers ",
                                   answer, ": as the test says")));
    const size_t calls = server_.calls();
    append(step_line(4));
    EXPECT_THAT(finish(), HasSubstr(absl::StrCat(" answers ", answer)));
    EXPECT_EQ(server_.calls(), calls) << "it is left alone";
    notes_.clear();
  }
  server_.answer_all(0);
  server_.add_experiment("novels", true);
  run_.memory += "-deleted";
  start();
  ASSERT_TRUE(noted("the experiment \"novels\" is deleted at " + server_.url()));
  finish();
}

TEST_F(MlflowTrackerTest, CredentialsAreMlflowsVariablesAndStandNowhere) {
  const std::vector<std::pair<std::map<std::string, std::string>, std::string>> cases = {
      {{{"MLFLOW_TRACKING_TOKEN", "t0ken"}}, "Authorization: Bearer t0ken"},
      {{{"MLFLOW_TRACKING_USERNAME", "ann"},
        {"MLFLOW_TRACKING_PASSWORD", "s3cret"},
        {"MLFLOW_TRACKING_TOKEN", "t0ken"}},
       "Authorization: Basic " + absl::Base64Escape("ann:s3cret")},
      {{{"MLFLOW_TRACKING_USERNAME", "ann"}, {"MLFLOW_TRACKING_TOKEN", "t0ken"}}, "Authorization: Bearer t0ken"}};
  int number = 0;
  for (const auto& [environment, header] : cases) {
    run_.memory = absl::StrCat(folder_.path(), "/memory-", number++);
    const size_t before = server_.calls();
    start(environment);
    EXPECT_EQ(finish(), "");
    const std::vector<std::string> heads = server_.heads();
    ASSERT_GT(heads.size(), before);
    for (size_t i = before; i < heads.size(); ++i) {
      EXPECT_THAT(heads[i], HasSubstr(header + "\r\n"));
      EXPECT_EQ(heads[i].find("Authorization"), heads[i].rfind("Authorization"));
    }
    server_.answer_all(401);
    append(step_line(1));
    start(environment);
    notes_.push_back(finish());
    server_.answer_all(0);
    notes_.push_back(*read_file(run_.memory));
    for (const std::string& text : notes_) {
      for (const char* secret : {"t0ken", "s3cret", "YW5uOnMzY3JldA"}) EXPECT_THAT(text, Not(HasSubstr(secret)));
    }
  }
}

TEST(MlflowAccess, RefusesByNameWhatItDoesNotHonour) {
  const auto with = [](const std::string& name, const std::string& value) {
    return mlflow_access("https://mlflow.example", [=](const std::string& asked) { return asked == name ? value : ""; })
        .status();
  };
  EXPECT_TRUE(with("", "").ok());
  for (const char* name : {"MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_AUTH"})
    EXPECT_THAT(std::string(with(name, "true").message()), HasSubstr(absl::StrCat(name, " is not honoured; "))) << name;
  EXPECT_TRUE(with("MLFLOW_TRACKING_INSECURE_TLS", "false").ok());
  EXPECT_EQ(with("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nowhere.pem").message(),
            "MLFLOW_TRACKING_SERVER_CERT_PATH: there is no /nowhere.pem");
  const absl::Status broken = with("MLFLOW_TRACKING_TOKEN", "secret\r\nX: y");
  EXPECT_THAT(std::string(broken.message()), testing::AllOf(HasSubstr("control character"), Not(HasSubstr("secret"))));
}

TEST(MlflowAccess, WarnsOfCredentialsThatGoInClear) {
  const auto clear = [](const std::string& address, const std::string& token) {
    return mlflow_access(address, [&](const std::string& name) { return name == "MLFLOW_TRACKING_TOKEN" ? token : ""; })
        ->in_clear();
  };
  EXPECT_THAT(clear("http://mlflow.example", "t"), HasSubstr("in clear"));
  EXPECT_THAT(clear("http://127.example", "t"), HasSubstr("in clear"));
  EXPECT_EQ(clear("http://mlflow.example", ""), "");
  EXPECT_EQ(clear("https://mlflow.example", "t"), "");
  EXPECT_EQ(clear("http://127.0.0.1:5000", "t"), "");
  EXPECT_EQ(clear("http://localhost:5000", "t"), "");
}

}  // namespace
}  // namespace galleon

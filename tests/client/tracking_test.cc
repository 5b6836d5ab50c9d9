// `galleon train` of a job that tells an MLflow server.
#include "tests/client/galleon_program.h"
#include "tests/fake_mlflow.h"
#include "tests/server/notify/http_server.h"

namespace galleon {
namespace {

using testing::HasSubstr;

class TrackedTrain : public GalleonProgram {
 protected:
  std::string tracked_job(int steps, const std::string& address) {
    return job_file("a", steps, "", absl::StrCat("tracking: {mlflow: '", address, "', run_name: first}\n"));
  }
  FakeMlflow server_;
};

TEST_F(TrackedTrain, ShowsWhereTheRunIsAndPlansWithoutACall) {
  const std::string job = tracked_job(6, server_.url());
  const CommandResult planned = galleon({"plan", job});
  EXPECT_EQ(planned.exit.code, 0) << planned.err;
  EXPECT_EQ(server_.calls(), 0U);
  const CommandResult result = galleon({"train", job, "--output", folder_ + "/run"});
  EXPECT_EQ(result.exit.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("run run1 at " + server_.url() + "/#/experiments/0/runs/run1"));
  EXPECT_EQ(server_.run().name, "first");
  EXPECT_EQ(server_.run().experiment_id, "0") << "Default";
  EXPECT_EQ(server_.run().status, "FINISHED");
  EXPECT_EQ(server_.run().parameters.at("model.source"), "preset:tiny");
  EXPECT_EQ(server_.run().parameters.at("training.global_batch"), "4");
}

TEST_F(TrackedTrain, AStopIsToldWithinSecondsAlthoughTheServerIsAway) {
  server_.stop();
  start({"train", tracked_job(100000, server_.url()), "--output", folder_ + "/run"});
  ASSERT_TRUE(await_step(folder_ + "/run", 5));
  send(SIGTERM);
  EXPECT_EQ(await_end(), 1) << text_of("err.log");
  EXPECT_THAT(text_of("out.log"), HasSubstr("of metrics.jsonl were not sent to MLflow: " + server_.url()));
  EXPECT_THAT(text_of("out.log"), HasSubstr("to go on: galleon train"));
  EXPECT_EQ(checkpoints(folder_ + "/run").size(), 1U);
}

TEST_F(TrackedTrain, TrustsTheAuthorityThatMlflowsVariableNamesAndNoOther) {
  ASSERT_EQ(galleon({"admin", "init-tls", folder_ + "/tls", "--host", "127.0.0.1"}).exit.code, 0);
  HttpServer server([](const HttpServer::Request&) { return 401; }, folder_ + "/tls/server");
  start({"train", tracked_job(100000, server.url("")), "--output", folder_ + "/unknown"});
  ASSERT_TRUE(await_step(folder_ + "/unknown", 3));
  EXPECT_TRUE(eventually([&] { return absl::StrContains(text_of("out.log"), "told nothing for now"); }));
  send(SIGTERM);
  EXPECT_EQ(await_end(), 1) << text_of("err.log");
  EXPECT_THAT(text_of("out.log"), HasSubstr("SSL peer certificate"));
  EXPECT_THAT(server.requests(), testing::IsEmpty());

  ::setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", (folder_ + "/tls/server/ca.pem").c_str(), 1);
  const CommandResult known = galleon({"train", tracked_job(4, server.url("")), "--output", folder_ + "/known"});
  ::unsetenv("MLFLOW_TRACKING_SERVER_CERT_PATH");
  EXPECT_EQ(known.exit.code, 0) << known.err;
  EXPECT_THAT(known.out, HasSubstr(server.url("") + " answers 401"));
  ASSERT_FALSE(server.requests().empty());
  EXPECT_EQ(server.requests()[0].path, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default");
}

TEST_F(TrackedTrain, AWrongAddressIsNamedWithItsLine) {
  const CommandResult result = galleon({"train", tracked_job(6, "file:///tmp/mlruns"), "--output", folder_ + "/run"});
  EXPECT_EQ(result.exit.code, 1);
  EXPECT_THAT(result.err,
              HasSubstr("a.yaml:8: tracking.mlflow: file:// is not spoken; http://HOST:PORT or "
                        "https://HOST/PATH is how it looks; `mlflow server` serves a file or a database so"));
}

}  // namespace
}  // namespace galleon

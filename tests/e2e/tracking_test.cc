// A job that tells an MLflow server, through scheduler, worker and trainer.
#include "tests/e2e/service.h"
#include "tests/fake_mlflow.h"

namespace galleon {
namespace {

using testing::HasSubstr;

constexpr char kToken[] = "t0ken-that-stands-nowhere";

std::string tracking(const FakeMlflow& server) {
  return absl::StrCat("tracking: {mlflow: '", server.url(), "', experiment: sea}\n");
}

size_t steps_told(const FakeMlflow& server) {
  size_t steps = 0;
  for (const auto& [id, run] : server.runs()) {
    for (const auto& point : run.metrics) steps += std::get<0>(point) == "train/loss" ? 1 : 0;
  }
  return steps;
}

// Files below a folder that hold a text.
std::vector<std::string> files_with(const std::string& folder, const std::string& text) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && absl::StrContains(read_file(entry.path().string()).value_or(""), text))
      found.push_back(entry.path().string());
  }
  return found;
}

TEST(Tracking, TheAttemptsOfAJobAreOneRunOfTheServerThatItsWorkerAllows) {
  FakeMlflow server;
  Service service;
  service.start_scheduler();
  ::setenv("MLFLOW_TRACKING_TOKEN", kToken, 1);
  service.start_worker("north", 1, {"--allow-tracking", server.url()});
  ::unsetenv("MLFLOW_TRACKING_TOKEN");
  const std::string job = service.submit(service.job_file("voyage", 2000, 1, tracking(server)));
  ASSERT_TRUE(eventually([&] { return steps_told(server) >= 60; }));
  // The server is away while a trainer dies and the next one begins.
  server.stop();
  for (const ProcessId& trainer : service.trainers()) ::kill(trainer.pid, SIGKILL);  // its supervisor leads the group
  ASSERT_TRUE(eventually([&] { return service.get(job).value("attempts", 0) >= 2; }));
  server.start();
  ASSERT_EQ(service.galleon({"wait", job, "--timeout", "600"}, 3 * kPatience).exit.code, 0)
      << service.galleon({"get", job}).out;

  const FakeMlflowRun run = server.run();
  EXPECT_EQ(run.status, "FINISHED");
  EXPECT_EQ(run.name, "voyage");
  EXPECT_EQ(run.tags.at("galleon.job_id"), job);
  EXPECT_EQ(run.tags.at("galleon.attempt"), "2");
  EXPECT_EQ(run.parameters.at("optimizer.galore.rank"), "8");
  const std::map<int64_t, double> losses = Service::losses(service.get(job).value("folder", "") + "/metrics.jsonl");
  std::map<int64_t, double> told;
  for (const auto& [name, step, value, time] : run.metrics) {
    if (name != "train/loss") continue;
    EXPECT_TRUE(told.emplace(step, value).second) << "twice: step " << step;
  }
  EXPECT_EQ(told, losses);
  for (const std::string& head : server.heads())
    EXPECT_THAT(head, HasSubstr(absl::StrCat("Authorization: Bearer ", kToken)));
  EXPECT_THAT(files_with(service.folder(), kToken), testing::IsEmpty());
}

TEST(Tracking, AWorkerCallsNoAddressThatItsOperatorHasNotNamed) {
  FakeMlflow server;
  Service service;
  service.start_scheduler();
  service.start_worker("north");
  const std::string job = service.submit(service.job_file("voyage", 20, 1, tracking(server)));
  EXPECT_EQ(service.galleon({"wait", job, "--timeout", "200"}).exit.code, 1);
  EXPECT_THAT(service.galleon({"attempts", job}).out + service.galleon({"get", job}).out,
              HasSubstr(absl::StrCat("tracking.mlflow: ", server.url(), " is not what this worker lets jobs call")));
  EXPECT_EQ(server.calls(), 0U);
}

TEST(Tracking, WhatIsNoAddressIsRefusedWhereAJobIsSubmitted) {
  Service service;
  service.start_scheduler();
  const CommandResult refused =
      service.galleon({"submit", service.job_file("voyage", 20, 1, "tracking: {mlflow: 'sqlite:///runs.db'}\n")});
  EXPECT_EQ(refused.exit.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("voyage.yaml:12: tracking.mlflow: sqlite:// is not spoken"));
  const CommandResult secret = service.galleon(
      {"submit", service.job_file("voyage", 20, 1, "tracking: {mlflow: 'https://ann:hidden@mlflow.example'}\n")});
  EXPECT_EQ(secret.exit.code, 1);
  EXPECT_THAT(secret.err, testing::AllOf(HasSubstr("MLFLOW_TRACKING_TOKEN"), testing::Not(HasSubstr("hidden"))));
}

}  // namespace
}  // namespace galleon

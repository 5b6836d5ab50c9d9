// Whatever is killed in the middle of a real job: it succeeds, with the losses of an undisturbed run.
#include "tests/e2e/service.h"

namespace galleon {
namespace {

class Kill : public testing::Test {
 protected:
  void SetUp() override {
    service.start_scheduler();
    service.start_worker("north");
    service.start_worker("south");
    sail("voyage", 400);
  }

  // A job of two ranks that is under way.
  void sail(const std::string& name, int of_steps) {
    steps = of_steps;
    file = service.job_file(name, steps, 2);
    job = service.submit(file);
    ASSERT_FALSE(job.empty());
    ASSERT_TRUE(service.await_step(job, 60));
  }

  void expect_success_with_the_same_losses() {
    const CommandResult wait = service.galleon({"wait", job, "--timeout", "230"});
    ASSERT_EQ(wait.exit.code, 0) << wait.out << wait.err << service.galleon({"attempts", job}).out;
    const Json record = service.get(job);
    const std::map<int64_t, double> found = Service::losses(record.value("folder", "") + "/metrics.jsonl");
    EXPECT_EQ(found.size(), static_cast<size_t>(steps));
    EXPECT_EQ(found, service.undisturbed_losses(file));
    const Json attempts = Json::parse(service.galleon({"attempts", job, "-o", "json"}).out);
    EXPECT_EQ(static_cast<int>(attempts.size()), record.value("attempts", 0));
  }

  Service service;
  std::string file;
  std::string job;
  int steps = 0;
};

TEST_F(Kill, ATrainer) {
  const std::vector<ProcessId> trainers = service.trainers();
  ASSERT_EQ(trainers.size(), 2U);
  ::kill(trainers[1].pid, SIGKILL);
  expect_success_with_the_same_losses();
  const Json attempts = Json::parse(service.galleon({"attempts", job, "-o", "json"}).out);
  ASSERT_EQ(attempts.size(), 2U);
  EXPECT_EQ(attempts[0]["outcome"], "LOST");
  EXPECT_GE(std::stoi(attempts[1].value("resumed_from_step", "0")), 40);
}

TEST_F(Kill, ADaemonWhoseTrainersRunOnAndAreTakenOver) {
  service.kill("north");
  absl::SleepFor(absl::Milliseconds(500));
  EXPECT_EQ(service.trainers().size(), 2U);
  service.start_worker("north");
  expect_success_with_the_same_losses();
  EXPECT_EQ(service.get(job).value("attempts", 0), 1);
}

TEST_F(Kill, ADaemonThatNeverComesBack) {
  service.kill("north");
  service.start_worker("east");
  expect_success_with_the_same_losses();
  EXPECT_EQ(service.get(job).value("attempts", 0), 2);
}

TEST_F(Kill, TheScheduler) {
  service.kill("scheduler");
  absl::SleepFor(absl::Seconds(1));
  EXPECT_EQ(service.trainers().size(), 2U);
  service.start_scheduler();
  expect_success_with_the_same_losses();
  EXPECT_EQ(service.get(job).value("attempts", 0), 1);
}

TEST_F(Kill, TheSchedulerForLongerThanTheLeaseAndWhatWasSavedInTheMeantimeIsUsed) {
  service.kill("scheduler");
  ASSERT_TRUE(eventually([&] { return service.trainers().empty(); })) << "they outlive their lease";
  int64_t published = 0;
  int64_t written = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(service.folder() + "/scheduler/jobs/" + job + "/checkpoints")) {
    const std::string name = entry.path().filename().string();
    const size_t digits = name.find("step-");
    if (digits == std::string::npos || !std::filesystem::exists(entry.path() / "manifest.json")) continue;
    int64_t& newest = digits == 0 ? published : written;
    newest = std::max<int64_t>(newest, std::stoll(name.substr(digits + 5, 8)));
  }
  ASSERT_GT(written, published) << "the trainers did not save before their lease ended";
  service.start_scheduler();
  expect_success_with_the_same_losses();
  // Whether the daemon still handed it in, or the next attempt found it.
  EXPECT_THAT(service.galleon({"logs", job}).out, testing::HasSubstr(absl::StrCat("continuing from step ", written)));
}

TEST_F(Kill, NothingButTheDaemonSleepsBeyondItsLease) {
  // One that outlasts the lease.
  sail("long-voyage", 4000);
  service.signal("north", SIGSTOP);
  service.start_worker("east");
  ASSERT_TRUE(service.await_step(job, 1, 2)) << service.get(job).dump(1);
  service.signal("north", SIGCONT);
  expect_success_with_the_same_losses();
  EXPECT_EQ(service.get(job).value("attempts", 0), 2);
}

TEST_F(Kill, ADaemonIsAskedToEndAndHandsItsWorkBackWithACheckpoint) {
  EXPECT_EQ(service.stop("south"), 0);
  service.start_worker("south");
  expect_success_with_the_same_losses();
  const Json attempts = Json::parse(service.galleon({"attempts", job, "-o", "json"}).out);
  ASSERT_EQ(attempts.size(), 2U);
  EXPECT_EQ(attempts[0]["outcome"], "STOPPED") << attempts.dump(1) << service.galleon({"events", job}).out;
  // Not a multiple of checkpoint.every: it was written because of the stop.
  EXPECT_GE(std::stoi(attempts[1].value("resumed_from_step", "0")), 60);
  EXPECT_EQ(service.get(job).value("failures", -1), 0);
}

}  // namespace
}  // namespace galleon

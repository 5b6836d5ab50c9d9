// The jobs' folder lies on a file system that does not answer: what needs it waits, and nothing else does.
#include "tests/server/api/hanging_folder.h"

#include "absl/strings/match.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

// Far more than an answer takes, less than a lease.
constexpr absl::Duration kAtOnce = absl::Milliseconds(1500);

class HangingFolderTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    options_.jobs_patience = absl::Milliseconds(100);
  }
  void TearDown() override {
    if (folder_of_jobs_ != nullptr) folder_of_jobs_->answer();
    ServerTest::TearDown();
  }

  // A scheduler with one job that trains, and a second slot that is free. False: this machine cannot have the folder
  // hang.
  bool set_up(std::unique_ptr<HangingFolder> folder) {
    folder_of_jobs_ = std::move(folder);
    options_.make_folder = folder_of_jobs_->make_folder();
    absl::Status hangs = folder_of_jobs_->prepare();
    start();
    EXPECT_TRUE(join(daemon_, 2).ok());
    running_ = submit(job_named("running"));
    train(daemon_, 1);
    EXPECT_TRUE(reaches(running_, J::RUNNING));
    if (hangs.ok()) hangs = folder_of_jobs_->hang();
    if (hangs.ok()) return true;
    why_ = std::string(hangs.message());
    return false;
  }

  template <typename Call>
  void at_once(const char* what, const Call& call) {
    const absl::Time before = absl::Now();
    call();
    EXPECT_LT(absl::Now() - before, kAtOnce) << what;
  }

  // Takes no slot from those that are watched.
  void submit_another() {
    v1::Job job = job_named("other");
    job.mutable_scheduling()->add_after("jobs/" + running_);
    submit(job);
  }

  // For longer than a lease everything is answered, and what trains goes on.
  void nothing_else_waits() {
    at_once("a submit that gets slots", [this] { stuck_ = submit(job_named("stuck")); });
    uint64_t step = 1;
    const absl::Time end = absl::Now() + 1.25 * absl::Milliseconds(options_.scheduler.lease_ms);
    while (absl::Now() < end) {
      at_once("a lease", [&] { train(daemon_, ++step); });
      ASSERT_EQ(daemon_.last.assignments_size(), 1) << "a worker was told of a job without its folder";
      at_once("a submit", [this] { submit_another(); });
      at_once("a checkpoint", [&] { EXPECT_TRUE(publish(daemon_, daemon_.held[0].id(), step).ok()); });
      at_once("a look", [&] { EXPECT_EQ(get(running_).state(), J::RUNNING); });
      absl::SleepFor(absl::Milliseconds(100));
    }
    EXPECT_EQ(get(running_).attempts(), 1U);
    EXPECT_EQ(get(stuck_).state(), J::RESERVED);
    EXPECT_EQ(get(stuck_).message(), "slots are reserved on a; the job's folder is being made");
  }

  // The job that waited for its folder runs.
  void goes_on() {
    folder_of_jobs_->answer();
    const absl::Time end = absl::Now() + absl::Seconds(10);
    while (absl::Now() < end && get(stuck_).state() != J::RUNNING) {
      train(daemon_, 100);
      absl::SleepFor(absl::Milliseconds(20));
    }
    EXPECT_EQ(get(stuck_).state(), J::RUNNING) << get(stuck_).message();
    EXPECT_TRUE(std::filesystem::is_directory(get(stuck_).folder()));
    EXPECT_EQ(get(running_).attempts(), 1U);
  }

  void starts_again_beside_it() {
    stuck_ = submit(job_named("stuck"));
    const absl::Time before = absl::Now();
    stop();
    start();
    EXPECT_LT(absl::Now() - before, absl::Seconds(5));
    ASSERT_TRUE(join(daemon_, 2).ok());
    train(daemon_, 7);
    EXPECT_EQ(get(running_).state(), J::RUNNING);
    at_once("a submit", [this] { submit_another(); });
    EXPECT_EQ(get(stuck_).state(), J::RESERVED);
  }

  std::unique_ptr<HangingFolder> mount() { return std::make_unique<HangingMount>(folder_ + "/data/jobs"); }

  std::unique_ptr<HangingFolder> folder_of_jobs_;
  Daemon daemon_{"a", {}, {}, {}, 0};
  std::string running_;
  std::string stuck_;
  std::string why_;
};

TEST_F(HangingFolderTest, ACallThatHangsHoldsUpNothingElse) {
  ASSERT_TRUE(set_up(std::make_unique<HangingCall>()));
  nothing_else_waits();
  goes_on();
}

TEST_F(HangingFolderTest, AMountThatHangsHoldsUpNothingElse) {
  if (!set_up(mount())) GTEST_SKIP() << "this machine mounts no FUSE file system: " << why_;
  nothing_else_waits();
  goes_on();
}

TEST_F(HangingFolderTest, TheSchedulerEndsAndStartsBesideACallThatHangs) {
  ASSERT_TRUE(set_up(std::make_unique<HangingCall>()));
  starts_again_beside_it();
  goes_on();
}

TEST_F(HangingFolderTest, TheSchedulerEndsAndStartsBesideAMountThatHangs) {
  if (!set_up(mount())) GTEST_SKIP() << "this machine mounts no FUSE file system: " << why_;
  starts_again_beside_it();
  goes_on();
}

TEST_F(HangingFolderTest, AJobThatWaitsForItsFolderCanBeCancelled) {
  ASSERT_TRUE(set_up(std::make_unique<HangingCall>()));
  stuck_ = submit(job_named("stuck"));
  EXPECT_TRUE(reaches(stuck_, J::RESERVED));
  v1::CancelJobRequest request;
  request.set_name("jobs/" + stuck_);
  v1::JobRecord record;
  at_once("a cancellation", [&] { EXPECT_TRUE(jobs_->CancelJob(context().get(), request, &record).ok()); });
  train(daemon_, 2);
  EXPECT_TRUE(reaches(stuck_, J::CANCELLED));
}

}  // namespace
}  // namespace galleon::server

#include "server/api/planner.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/process.h"

namespace galleon::server {
namespace {

// A planner whose program is a script. A job whose name begins with "hang" is planned until the file `go` is there.
class PlannerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/galleon-planner-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    v1::MemoryPlan plan;
    plan.add_ranks()->set_peak_bytes(1 << 20);
    ASSERT_TRUE(write_file_atomically(folder_ + "/answer", plan.SerializeAsString()).ok());
    set_program("echo $$ >> " + folder_ + "/started\nif grep -q hang \"$3\"; then while [ ! -e " + folder_ +
                "/go ]; do sleep 0.02; done; fi\ncat " + folder_ + "/answer");
    make_planner();
  }
  void TearDown() override {
    planner_.reset();
    std::filesystem::remove_all(folder_);
  }
  void set_program(const std::string& shell) {
    ASSERT_TRUE(write_file_atomically(folder_ + "/program", "#!/bin/sh\n" + shell + "\n").ok());
    ASSERT_EQ(::chmod((folder_ + "/program").c_str(), 0755), 0);
  }
  void make_planner(absl::Duration timeout = absl::Seconds(60)) {
    planner_ = std::make_unique<Planner>(folder_ + "/program", folder_ + "/planner", timeout);
  }
  int started() const {
    const std::string lines = read_file(folder_ + "/started").value_or("");
    return static_cast<int>(std::count(lines.begin(), lines.end(), '\n'));
  }
  // A job that needs a plan of its own; hanging ones say so in a field that a plan depends on.
  static v1::Job job(const std::string& word, int number) {
    v1::Job job;
    job.mutable_model()->set_source(absl::StrCat(word, number));
    return job;
  }

  std::string folder_;
  std::unique_ptr<Planner> planner_;
};

TEST_F(PlannerTest, WhoAsksForMuchWaitsBehindItself) {
  std::mutex mutex;
  int answered = 0;
  for (int i = 0; i < 40; ++i) {
    planner_->plan(job("hang", i), "greedy", [&](const absl::StatusOr<v1::MemoryPlan>& plan) {
      EXPECT_TRUE(plan.ok()) << plan.status();
      const std::lock_guard<std::mutex> lock(mutex);
      ++answered;
    });
  }
  while (started() < 3) absl::SleepFor(absl::Milliseconds(5));
  absl::Notification other;
  planner_->plan(job("quick", 0), "another", [&](const absl::StatusOr<v1::MemoryPlan>& plan) {
    EXPECT_TRUE(plan.ok()) << plan.status();
    other.Notify();
  });
  EXPECT_TRUE(other.WaitForNotificationWithTimeout(absl::Seconds(50)));
  {
    const std::lock_guard<std::mutex> lock(mutex);
    EXPECT_EQ(answered, 0) << "those hang until they may go on";
  }
  EXPECT_EQ(started(), 4) << "three of who asked for forty, and one of who asked for one";
  ASSERT_TRUE(write_file_atomically(folder_ + "/go", "").ok());
  while (true) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (answered == 40) break;
  }
}

TEST_F(PlannerTest, TooManyOfOneCallerAreRefusedAndOthersAreNot) {
  int refused = 0;
  for (int i = 0; i < 100; ++i) {
    planner_->plan(job("hang", i), "greedy", [&](const absl::StatusOr<v1::MemoryPlan>& plan) {
      if (absl::IsResourceExhausted(plan.status())) {
        EXPECT_TRUE(absl::StrContains(plan.status().message(), "jobs of yours wait")) << plan.status();
        ++refused;  // at once, in this thread
      }
    });
  }
  EXPECT_GE(refused, 100 - 64 - 3);
  EXPECT_LE(refused, 100 - 64);
  absl::Notification other;
  planner_->plan(job("quick", 0), "another", [&](const absl::StatusOr<v1::MemoryPlan>& plan) {
    EXPECT_TRUE(plan.ok()) << plan.status();
    other.Notify();
  });
  EXPECT_TRUE(other.WaitForNotificationWithTimeout(absl::Seconds(50)));
  planner_->shut_down();
}

TEST_F(PlannerTest, APlanningEndsByItsShareOfTheProcessor) {
  planner_.reset();
  set_program("ulimit -t > " + folder_ + "/limit; ulimit -v >> " + folder_ + "/limit; cat " + folder_ + "/answer");
  make_planner(absl::Seconds(7));
  absl::Notification done;
  planner_->plan(job("quick", 0), "ann", [&](const absl::StatusOr<v1::MemoryPlan>&) { done.Notify(); });
  done.WaitForNotification();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  EXPECT_EQ(read_file(folder_ + "/limit").value_or(""), "8\nunlimited\n");
#else
  EXPECT_EQ(read_file(folder_ + "/limit").value_or(""), "8\n4194304\n");
#endif
}

TEST_F(PlannerTest, AJobThatNeedsMoreThanThatIsRefusedAndSoIsAPlannerThatCrashesOnOne) {
  for (const auto& [how, code] :
       std::vector<std::pair<std::string, absl::StatusCode>>{{"kill -KILL $$", absl::StatusCode::kInternal},
                                                             {"kill -XCPU $$", absl::StatusCode::kInvalidArgument},
                                                             {"kill -ABRT $$", absl::StatusCode::kInvalidArgument},
                                                             {"kill -SEGV $$", absl::StatusCode::kInternal}}) {
    planner_.reset();
    set_program(how);
    make_planner();
    absl::Notification done;
    planner_->plan(job("quick", 0), "ann", [&](const absl::StatusOr<v1::MemoryPlan>& plan) {
      EXPECT_EQ(plan.status().code(), code) << plan.status();
      done.Notify();
    });
    done.WaitForNotification();
  }
}

TEST_F(PlannerTest, PlanningsEndWithTheProcessThatStartedThem) {
  // A child of the test stands for the scheduler; it is killed while its planning hangs.
  planner_.reset();  // a process that forks has no other threads
  const pid_t scheduler = ::fork();
  ASSERT_GE(scheduler, 0);
  if (scheduler == 0) {
    Planner planner(folder_ + "/program", folder_ + "/planner", absl::Seconds(60));
    planner.plan(job("hang", 0), "ann", [](const absl::StatusOr<v1::MemoryPlan>&) {});
    while (true) ::pause();
  }
  while (started() < 1) absl::SleepFor(absl::Milliseconds(5));
  int pid = 0;
  ASSERT_TRUE(absl::SimpleAtoi(read_file(folder_ + "/started").value_or(""), &pid));
  const std::optional<uint64_t> ticks = process_start_ticks(pid);
  ASSERT_TRUE(ticks.has_value());
  ::kill(scheduler, SIGKILL);
  ASSERT_TRUE(wait_process(scheduler, absl::Seconds(50)).ok());
  const absl::Time deadline = absl::Now() + absl::Seconds(50);
  while (process_alive({pid, *ticks}) && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_FALSE(process_alive({pid, *ticks}));
}

}  // namespace
}  // namespace galleon::server

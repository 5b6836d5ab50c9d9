#include "worker/daemon/rank_process.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "worker/daemon/held_rank.h"
#include "worker/daemon/supervisor.h"

namespace galleon {
namespace {

// A group of one process, as a supervisor is alone when its trainer has ended.
class RankProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-rank-", random_hex(8))).string();
    std::filesystem::create_directory(folder_);
    ProcessOptions options;
    options.command = {"/bin/sleep", "1000"};
    absl::StatusOr<ProcessId> alone = start_process(options);
    ASSERT_TRUE(alone.ok()) << alone.status();
    alone_ = *alone;
    v1::HeldRankState::Process state;
    state.set_pid(alone_.pid);
    state.set_start_ticks(alone_.start_ticks);
    process_ = std::make_unique<RankProcess>(folder_);
    process_->restore(state);
  }
  void TearDown() override {
    signal_process_group(alone_, SIGKILL);
    (void)wait_process(alone_.pid, absl::Seconds(5));
    std::filesystem::remove_all(folder_);
  }

  std::string folder_;
  ProcessId alone_;
  std::unique_ptr<RankProcess> process_;
};

TEST_F(RankProcessTest, ASupervisorAloneGetsTimeToWriteTheEndAndNobodySleepsForIt) {
  const absl::Time before = absl::Now();
  EXPECT_EQ(process_->look(absl::Seconds(100)), RankProcess::End::kUnclear);
  EXPECT_EQ(process_->look(absl::Seconds(100.4)), RankProcess::End::kUnclear);
  EXPECT_EQ(process_->look(absl::Seconds(100.6)), RankProcess::End::kAtOurs);
  EXPECT_LT(absl::Now() - before, absl::Milliseconds(400));
}

TEST_F(RankProcessTest, WhatIsWrittenMeanwhileIsAnEndByItself) {
  EXPECT_EQ(process_->look(absl::Seconds(100)), RankProcess::End::kUnclear);
  ASSERT_TRUE(write_file_atomically(absl::StrCat(folder_, "/", kExitFile), "3 0\n").ok());
  EXPECT_EQ(process_->look(absl::Seconds(100.1)), RankProcess::End::kByItself);
}

TEST_F(RankProcessTest, TheEndIsTheOneThatWasWrittenOnceNothingOfTheGroupLives) {
  EXPECT_FALSE(process_->poll().has_value());
  ASSERT_TRUE(write_file_atomically(absl::StrCat(folder_, "/", kExitFile), "3 0\n").ok());
  EXPECT_FALSE(process_->poll().has_value());
  process_->signal();
  std::optional<ProcessExit> exit;
  for (int i = 0; i < 500 && !exit; ++i) {
    exit = process_->poll();
    absl::SleepFor(absl::Milliseconds(10));
  }
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 3);
  EXPECT_EQ(exit->signal, 0);
  EXPECT_TRUE(process_->exit_written());
}

TEST_F(RankProcessTest, ADamagedStateIsNoState) {
  RankOptions options;
  ASSERT_TRUE(write_file_atomically(folder_ + "/rank.state", "\x0a\xff not a message").ok());
  EXPECT_EQ(HeldRank::recover(folder_, options).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(write_file_atomically(folder_ + "/rank.state", "").ok());
  EXPECT_EQ(HeldRank::recover(folder_, options).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace galleon

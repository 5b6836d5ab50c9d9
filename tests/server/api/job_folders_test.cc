#include "server/api/job_folders.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "tests/server/api/hanging_folder.h"

namespace galleon::server {
namespace {

class JobFoldersTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-folders-", random_hex(8))).string();
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void put(const std::string& folder) {
    ASSERT_TRUE(make_folders(absl::StrCat(root_, "/", folder)).ok());
    ASSERT_TRUE(write_file_atomically(absl::StrCat(root_, "/", folder, "/metrics.jsonl"), "{}").ok());
  }

  std::string root_;
};

TEST_F(JobFoldersTest, NumbersWhoseFoldersHoldFilesOfAnotherJournalAreLeftOut) {
  put("a-3");
  put("a-4");
  put("b-5");
  ASSERT_TRUE(make_folders(root_ + "/a-5").ok());
  JobFolders folders(root_, make_folders);
  ASSERT_TRUE(folders.open(3, absl::Seconds(10)).ok());
  EXPECT_EQ(folders.free_number("a", 3), 5U);  // an empty folder is nobody's
  EXPECT_EQ(folders.free_number("b", 5), 6U);
  EXPECT_EQ(folders.free_number("c", 3), 3U);
}

TEST_F(JobFoldersTest, ARootThatCannotBeMadeIsAnError) {
  ASSERT_TRUE(write_file_atomically(root_, "in the way").ok());
  JobFolders folders(root_ + "/jobs", make_folders);
  EXPECT_FALSE(folders.open(1, absl::Seconds(10)).ok());
}

TEST_F(JobFoldersTest, WhatIsFoundLateCountsFromThenOn) {
  put("a-1");
  HangingCall call;
  ASSERT_TRUE(call.hang().ok());
  JobFolders folders(root_, call.make_folder());
  ASSERT_TRUE(folders.open(1, absl::Milliseconds(20)).ok());
  EXPECT_EQ(folders.free_number("a", 1), 1U);
  call.answer();
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (folders.free_number("a", 1) != 2U && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(folders.free_number("a", 1), 2U);
}

TEST_F(JobFoldersTest, NobodyIsCalledOnceItHasEnded) {
  HangingCall call;
  ASSERT_TRUE(call.hang().ok());
  const auto calls = std::make_shared<std::atomic<int>>(0);
  {
    JobFolders folders(root_, call.make_folder());
    folders.make(root_ + "/a-1", [calls](const absl::Status&) { ++*calls; });
    while (!call.waiting()) absl::SleepFor(absl::Milliseconds(1));
  }
  call.answer();
  // The thread that was left behind makes the folder and ends.
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (!std::filesystem::exists(root_ + "/a-1") && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(*calls, 0);
}

}  // namespace
}  // namespace galleon::server

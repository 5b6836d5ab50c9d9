// Logs beyond what a project may keep: left out, counted and marked, and nothing lost or doubled around it.
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "server/api/log_files.h"
#include "server/api/log_gap.h"
#include "server/api/log_tally.h"

namespace galleon::server {
namespace {

class LogQuota : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-logs-", random_hex(8))).string();
    files_ = std::make_unique<LogFiles>(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Sends a log piece as a worker does, from where the scheduler says that it stands.
  uint64_t send(const std::string& data, const std::string& refused = "", bool last = false) {
    const absl::StatusOr<LogFiles::Appended> stored = files_->append(kKey, position_, data, last, refused);
    EXPECT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(stored->position, position_ + data.size());
    position_ = stored->position;
    return stored->added;
  }
  std::string text() const { return *files_->read(kKey, 0, 1 << 20); }

  const LogFiles::Key kKey{"x-1", 1, 0};
  std::string folder_;
  std::unique_ptr<LogFiles> files_;
  uint64_t position_ = 0;
};

TEST_F(LogQuota, WhatIsLeftOutIsCountedAndMarkedAndTheRestFollows) {
  EXPECT_EQ(send("one\n"), 4U);
  send("two\nthree\n", "project lab keeps 1 GiB of logs, which is all that it may");
  send("four\n", "the same");
  send("five\n");
  send("six\n", "", true);
  EXPECT_EQ(
      text(),
      "one\n\n[galleon-scheduler: what follows is not kept: project lab keeps 1 GiB of logs, which is all that it "
      "may]\n[galleon-scheduler: 3 lines of 15 bytes of this log were not kept here]\nfive\nsix\n");
  EXPECT_EQ(files_->size_of_job("x-1"), text().size());
}

TEST_F(LogQuota, ALogThatEndsInAGapSaysHowMuchIsMissing) {
  send("one\n");
  send("two\n", "full", true);
  EXPECT_TRUE(text().ends_with("[galleon-scheduler: 1 lines of 4 bytes of this log were not kept here]\n")) << text();
  EXPECT_TRUE(files_->complete(kKey));
}

TEST_F(LogQuota, DoubledPiecesAndGapsOfTheNetworkAreAsWithoutAQuota) {
  send("one\n");
  send("two\n", "full");
  send("three\n");
  const std::string before = text();
  EXPECT_EQ(files_->append(kKey, 0, "one\ntwo\n", false)->position, 14U);
  EXPECT_EQ(files_->append(kKey, 4, "two\n", false, "full")->position, 14U);
  EXPECT_EQ(files_->append(kKey, 100, "later", false)->position, 14U);
  EXPECT_EQ(text(), before);
  EXPECT_EQ(files_->append(kKey, 8, "three\nfour\n", false)->position, 19U);
  EXPECT_EQ(text(), before + "four\n");
}

TEST_F(LogQuota, ACrashAnywhereInBetweenLosesAndDoublesNothing) {
  send("one\n");
  send("two\n", "full");
  const std::string whole = text();
  const std::string log = folder_ + "/x-1/1/0.log";
  // Our line was noted, and not or only in part written.
  for (const size_t left : {size_t{4}, size_t{5}, whole.size() - 1}) {
    std::filesystem::resize_file(log, left);
    EXPECT_EQ(files_->append(kKey, 100, "", false)->position, 8U) << left;
    EXPECT_EQ(text(), whole) << left;
  }
  send("three\n");
  EXPECT_TRUE(text().ends_with("not kept here]\nthree\n")) << text();
  EXPECT_EQ(position_, 14U);
}

TEST_F(LogQuota, ANoteThatIsDamagedIsNamed) {
  send("one\n");
  send("two\n", "full");
  ASSERT_TRUE(write_file_durably(folder_ + "/x-1/1/0.gap", "rubbish").ok());
  EXPECT_EQ(files_->append(kKey, 8, "x", false).status().code(), absl::StatusCode::kDataLoss);
}

TEST(LogTally, CountsByProjectAndUserAndForgetsWhatIsRemoved) {
  LogTally tally;
  tally.add("a-1", {"lab", "ann"}, 60);
  tally.add("b-2", {"lab", "bob"}, 30);
  tally.add("a-1", {"arts", "ann"}, 5);  // moved meanwhile
  EXPECT_EQ(tally.of_project("lab"), 95U);
  EXPECT_EQ(tally.of_user("lab", "ann"), 65U);
  const ProjectQuota quota{"lab", {.log_bytes = 100}, {.log_bytes = 70}};
  EXPECT_EQ(tally.refusal(quota, "ann", 5), "");
  EXPECT_EQ(
      tally.refusal(quota, "ann", 6),
      "project lab keeps 1 MiB of logs, which is all that it may; galleon delete of jobs that have ended frees what "
      "they keep");
  EXPECT_EQ(tally.refusal({"lab", {}, {.log_bytes = 70}}, "ann", 6).substr(0, 23), "user ann in project lab");
  tally.remove("a-1");
  EXPECT_EQ(tally.of_project("lab"), 30U);
  EXPECT_EQ(tally.of_user("lab", "ann"), 0U);
  EXPECT_EQ(tally.refusal(quota, "ann", 60), "");
}

}  // namespace
}  // namespace galleon::server

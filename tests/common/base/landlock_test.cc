#include "common/base/landlock.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "common/base/ids.h"
#include "common/base/process.h"
#include "tests/patience.h"

namespace galleon {
namespace {

namespace fs = std::filesystem;

class LandlockTest : public testing::Test {
 protected:
  void SetUp() override {
    if (landlock_version() == 0) GTEST_SKIP() << "this kernel has no Landlock";
    folder_ = fs::canonical(testing::TempDir()).string() + "/landlock-" + random_hex(6);
    for (const char* name : {"/allowed", "/job", "/outside"}) fs::create_directories(folder_ + name);
    ASSERT_TRUE(write_file_atomically(folder_ + "/allowed/text", "inside").ok());
    ASSERT_TRUE(write_file_atomically(folder_ + "/outside/key", "secret").ok());
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  // The exit code of a shell's line within rules for these folders.
  int confined(const std::string& line) {
    absl::StatusOr<FileDescriptor> ruleset = make_ruleset({{"/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache"},
                                                           {folder_ + "/allowed", folder_ + "/not-there"},
                                                           {folder_ + "/job", "/dev/null"}});
    EXPECT_TRUE(ruleset.ok()) << ruleset.status();
    ProcessOptions options;
    options.command = {"/bin/sh", "-c", line};
    options.ruleset = ruleset->get();
    absl::StatusOr<ProcessId> process = start_process(options);
    EXPECT_TRUE(process.ok()) << process.status();
    absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process->pid, kPatience);
    EXPECT_TRUE(exit.ok() && exit->has_value());
    return (*exit)->code;
  }

  std::string folder_;
};

TEST_F(LandlockTest, AProcessReadsAndWritesWhatTheRulesHaveAndNothingElse) {
  const std::string in = "cat " + folder_;
  EXPECT_EQ(confined(in + "/allowed/text >/dev/null"), 0);
  EXPECT_EQ(confined("echo x >" + folder_ + "/job/new && rm " + folder_ + "/job/new"), 0);
  EXPECT_NE(confined(in + "/outside/key >/dev/null 2>&1"), 0);
  EXPECT_NE(confined("(echo x >" + folder_ + "/allowed/text) 2>/dev/null"), 0);
  EXPECT_NE(confined("(echo x >" + folder_ + "/outside/new) 2>/dev/null"), 0);
  EXPECT_NE(confined("ln -s " + folder_ + "/outside/key " + folder_ + "/job/link; " + in + "/job/link 2>/dev/null"), 0);
  EXPECT_EQ(*read_file(folder_ + "/allowed/text"), "inside");
}

TEST_F(LandlockTest, OfProcessesItReadsItsOwn) {
  EXPECT_EQ(confined("read line </proc/self/status"), 0);
  EXPECT_NE(confined("(read line </proc/" + std::to_string(::getpid()) + "/environ) 2>/dev/null"), 0);
  EXPECT_NE(confined("(read line </proc/" + std::to_string(::getpid()) + "/status) 2>/dev/null"), 0);
}

TEST_F(LandlockTest, WhatItStartsIsHeldToTheSame) {
  EXPECT_NE(confined("sh -c 'sh -c \"cat " + folder_ + "/outside/key\"' >/dev/null 2>&1"), 0);
}

TEST(ProcessUser, AnotherUserRunsAsHimselfWithHisGroupsOrIsRefusedByName) {
  EXPECT_TRUE(absl::IsNotFound(find_user("no-such-user-here").status()));
  absl::StatusOr<User> nobody = find_user("nobody");
  ASSERT_TRUE(nobody.ok()) << nobody.status();
  ProcessOptions options;
  options.command = {
      "/bin/sh", "-c",
      "test \"$(id -u)\" = " + std::to_string(nobody->id) + " && test \"$(id -g)\" = " + std::to_string(nobody->group)};
  options.user = *nobody;
  absl::StatusOr<ProcessId> process = start_process(options);
  if (::geteuid() != 0) {
    EXPECT_TRUE(absl::IsPermissionDenied(process.status())) << process.status();
    return;
  }
  ASSERT_TRUE(process.ok()) << process.status();
  absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process->pid, kPatience);
  ASSERT_TRUE(exit.ok() && exit->has_value());
  EXPECT_EQ((*exit)->code, 0);
}

}  // namespace
}  // namespace galleon

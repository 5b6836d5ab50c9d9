#include "server/api/folder_removal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/ids.h"

namespace galleon::server {
namespace {

namespace fs = std::filesystem;

class FolderRemoval : public testing::Test {
 protected:
  void SetUp() override {
    top_ = (fs::temp_directory_path() / absl::StrCat("galleon-removal-", random_hex(8))).string();
    root_ = top_ + "/jobs";
    put("jobs/x-1/metrics.jsonl");
    put("jobs/x-1/checkpoints/step-00000010/model.safetensors");
    put("jobs/x-1/checkpoints/.step-20.epoch-3/half");
    put("jobs/x-1/a/b/c");
    put("jobs/x-10/metrics.jsonl");
    put("elsewhere/precious");
  }
  void TearDown() override { fs::remove_all(top_); }

  void put(const std::string& path) {
    ASSERT_TRUE(make_folders(fs::path(top_ + "/" + path).parent_path().string()).ok());
    ASSERT_TRUE(write_file_atomically(top_ + "/" + path, "x").ok());
  }
  bool has(const std::string& path) const { return fs::exists(fs::symlink_status(top_ + "/" + path)); }

  std::string top_;
  std::string root_;
};

TEST_F(FolderRemoval, TakesTheFolderAndNoOther) {
  ASSERT_TRUE(remove_below(root_, "x-1", "").ok());
  EXPECT_FALSE(has("jobs/x-1"));
  EXPECT_TRUE(has("jobs/x-10/metrics.jsonl"));
  EXPECT_TRUE(has("elsewhere/precious"));
  // After a crash it is asked for once more.
  EXPECT_TRUE(remove_below(root_, "x-1", "").ok());
}

TEST_F(FolderRemoval, LeavesPublishedCheckpointsAndTheWayToThem) {
  ASSERT_TRUE(remove_below(root_, "x-1", "checkpoints").ok());
  EXPECT_TRUE(has("jobs/x-1/checkpoints/step-00000010/model.safetensors"));
  EXPECT_FALSE(has("jobs/x-1/checkpoints/.step-20.epoch-3"));
  EXPECT_FALSE(has("jobs/x-1/metrics.jsonl"));
  EXPECT_FALSE(has("jobs/x-1/a"));
  put("jobs/y-2/out/steps/step-1/m");
  put("jobs/y-2/out/log");
  ASSERT_TRUE(remove_below(root_, "y-2", "out/steps").ok());
  EXPECT_TRUE(has("jobs/y-2/out/steps/step-1/m"));
  EXPECT_FALSE(has("jobs/y-2/out/log"));
}

TEST_F(FolderRemoval, FollowsNoLink) {
  fs::create_directory_symlink(top_ + "/elsewhere", top_ + "/jobs/x-1/a/link");
  fs::create_symlink(top_ + "/elsewhere/precious", top_ + "/jobs/x-1/file");
  fs::create_directory_symlink(top_ + "/jobs/x-10", top_ + "/jobs/x-1/step-link");
  ASSERT_TRUE(remove_below(root_, "x-1", "").ok());
  EXPECT_FALSE(has("jobs/x-1"));
  EXPECT_TRUE(has("elsewhere/precious"));
  EXPECT_TRUE(has("jobs/x-10/metrics.jsonl"));
  // A job's folder that is a link goes alone, and so does a link in the place of its checkpoints.
  fs::create_directory_symlink(top_ + "/elsewhere", top_ + "/jobs/y-2");
  ASSERT_TRUE(remove_below(root_, "y-2", "").ok());
  EXPECT_FALSE(has("jobs/y-2"));
  put("jobs/z-3/log");
  fs::create_directory_symlink(top_ + "/elsewhere", top_ + "/jobs/z-3/checkpoints");
  ASSERT_TRUE(remove_below(root_, "z-3", "checkpoints").ok());
  EXPECT_FALSE(has("jobs/z-3/checkpoints"));
  EXPECT_TRUE(has("elsewhere/precious"));
}

TEST_F(FolderRemoval, TakesNothingThatIsNotDirectlyBelowTheRoot) {
  for (const char* name : {"", ".", "..", "../elsewhere", "x-1/a", "/"}) {
    EXPECT_EQ(remove_below(root_, name, "").code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_TRUE(has("elsewhere/precious"));
  EXPECT_TRUE(has("jobs/x-1/a/b/c"));
  EXPECT_EQ(remove_below(top_ + "/none", "x-1", "").code(), absl::StatusCode::kNotFound);
}

TEST_F(FolderRemoval, SaysWhatIsTooDeep) {
  std::string deep = top_ + "/jobs/x-1";
  for (int i = 0; i < 200; ++i) deep += "/d";
  ASSERT_TRUE(make_folders(deep).ok());
  const absl::Status status = remove_below(root_, "x-1", "");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("lies deeper than"));
}

TEST_F(FolderRemoval, SaysWhatMayNotBeRemoved) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may remove everything";
  ASSERT_EQ(::chmod((top_ + "/jobs/x-1/a").c_str(), 0500), 0);
  const absl::Status status = remove_below(root_, "x-1", "");
  ::chmod((top_ + "/jobs/x-1/a").c_str(), 0700);
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
}

}  // namespace
}  // namespace galleon::server

#include "common/base/disk_guard.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/ids.h"

namespace galleon {
namespace {

constexpr uint64_t kMiB = 1 << 20;

TEST(DiskGuard, TellsWhatIsLeftAndIsAtEaseAgainOnlyWithATenthMore) {
  uint64_t free = 200 * kMiB;
  DiskGuard guard(100 * kMiB, "/jobs", [&free](const std::string&) { return DiskSpace{free, 1000 * kMiB}; });
  EXPECT_EQ(guard.look(), "");
  free = 99 * kMiB;
  EXPECT_EQ(guard.look(), "the disk of /jobs has 99 MiB of 1000 MiB left, and 100 MiB are kept free (--keep-free)");
  EXPECT_TRUE(guard.is_short());
  free = 105 * kMiB;
  EXPECT_NE(guard.look(), "");
  free = 110 * kMiB;
  EXPECT_EQ(guard.look(), "");
  EXPECT_FALSE(guard.is_short());
}

TEST(DiskGuard, KeepsAGibibyteOrAFiftiethOfASmallDisk) {
  DiskSpace space{0, 100 * kMiB};
  DiskGuard guard(0, "/jobs", [&space](const std::string&) { return space; });
  space.free = 2 * kMiB;
  EXPECT_EQ(guard.look(), "");
  space.free = 2 * kMiB - 1;
  EXPECT_NE(guard.look(), "");
  DiskGuard large(0, "/jobs", [&space](const std::string&) { return space; });
  space = {1025 * kMiB, uint64_t{10} << 40};
  EXPECT_EQ(large.look(), "");
  space.free = 1023 * kMiB;
  EXPECT_NE(large.look(), "");
}

TEST(DiskGuard, AFileSystemThatDoesNotTellStopsNobody) {
  DiskGuard silent(1, "/jobs", [](const std::string&) { return std::nullopt; });
  EXPECT_EQ(silent.look(), "");
  DiskGuard nowhere(1, "", [](const std::string&) { return DiskSpace{0, 1}; });
  EXPECT_EQ(nowhere.look(), "");
  nowhere.watch("/jobs");
  EXPECT_NE(nowhere.look(), "");
}

TEST(FolderBytes, CountsWhatFilesTakeAndALinkedOneOnce) {
  const std::string folder =
      (std::filesystem::temp_directory_path() / absl::StrCat("galleon-", random_hex(8))).string();
  std::filesystem::create_directories(folder + "/below");
  ASSERT_TRUE(write_file_durably(folder + "/below/a", std::string(3 * kMiB, 'a')).ok());
  const uint64_t one = folder_bytes(folder);
  EXPECT_GE(one, 3 * kMiB);
  EXPECT_LT(one, 4 * kMiB);
  std::filesystem::create_hard_link(folder + "/below/a", folder + "/b");
  EXPECT_LT(folder_bytes(folder), 4 * kMiB);
  EXPECT_EQ(folder_bytes(folder + "/not/there"), 0U);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace galleon

#include "worker/daemon/library_folders.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "common/base/files.h"

namespace galleon {
namespace {

TEST(LibraryFolders, ThoseOfALinkedProgramAndNoneOfOtherFiles) {
  const std::string text = testing::TempDir() + "no-program";
  ASSERT_TRUE(write_file_atomically(text, "\x7f" "ELF and no more").ok());
  EXPECT_THAT(library_folders(text), testing::IsEmpty());
  EXPECT_THAT(library_folders("/nowhere"), testing::IsEmpty());
  for (const std::string& folder : library_folders("/proc/self/exe"))
    EXPECT_TRUE(std::filesystem::path(folder).is_absolute()) << folder;
}

}  // namespace
}  // namespace galleon

#include "common/net/disk_space.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "prometheus/registry.h"

namespace galleon {
namespace {

TEST(WithDiskSpace, TellsWhatTheFileSystemOfTheFolderTells) {
  const std::string folder = testing::TempDir();
  const WithDiskSpace metrics(std::make_shared<prometheus::Registry>(), folder);
  const std::filesystem::space_info space = std::filesystem::space(folder);
  const std::vector<prometheus::MetricFamily> families = metrics.Collect();
  ASSERT_EQ(families.size(), 2);
  EXPECT_EQ(families[0].name, "galleon_disk_free_bytes");
  // Others write there meanwhile.
  EXPECT_NEAR(families[0].metric.at(0).gauge.value, static_cast<double>(space.available), 1e9);
  EXPECT_EQ(families[1].name, "galleon_disk_size_bytes");
  EXPECT_EQ(families[1].metric.at(0).gauge.value, static_cast<double>(space.capacity));
}

TEST(WithDiskSpace, TellsWhetherTheGuardFindsTooLittle) {
  uint64_t free = 1;
  DiskGuard guard(100, testing::TempDir(), [&free](const std::string&) { return DiskSpace{free, 1000}; });
  const WithDiskSpace metrics(std::make_shared<prometheus::Registry>(), std::vector<ShownDisk>{jobs_disk(&guard)});
  // Nobody has looked yet, and the metrics do not.
  EXPECT_TRUE(metrics.Collect().empty());
  ASSERT_NE(guard.look(), "");
  ASSERT_EQ(metrics.Collect().size(), 3);
  EXPECT_EQ(metrics.Collect()[0].name, "galleon_jobs_disk_free_bytes");
  EXPECT_EQ(metrics.Collect()[2].name, "galleon_jobs_disk_short");
  EXPECT_EQ(metrics.Collect()[2].metric.at(0).gauge.value, 1);
  free = 500;
  EXPECT_EQ(metrics.Collect()[0].metric.at(0).gauge.value, 1);
  ASSERT_EQ(guard.look(), "");
  EXPECT_EQ(metrics.Collect()[2].metric.at(0).gauge.value, 0);
}

TEST(WithDiskSpace, SaysNothingOfAFolderThatIsGone) {
  const WithDiskSpace metrics(std::make_shared<prometheus::Registry>(), testing::TempDir() + "/not/there");
  EXPECT_TRUE(metrics.Collect().empty());
}

}  // namespace
}  // namespace galleon

#include "worker/daemon/place_probe.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/base/files.h"
#include "common/base/ids.h"

namespace galleon {
namespace {

class PlaceProbeTest : public testing::Test {
 protected:
  PlaceProbeTest() {
    for (const char* name : {"/data", "/jobs", "/allowed"}) EXPECT_TRUE(make_folders(folder_ + name).ok());
    options_ = {"/bin/true", folder_ + "/data", folder_ + "/jobs", {folder_ + "/allowed"}, {}};
  }
  ~PlaceProbeTest() override { std::filesystem::remove_all(folder_); }
  std::string fault() const { return probe_place(options_, {}, 1).fault(); }

  const std::string folder_ = std::filesystem::canonical(testing::TempDir()).string() + "/probe-" + random_hex(4);
  PlaceOptions options_;
};

TEST_F(PlaceProbeTest, PassesWhereEverythingIsThereAndLeavesNothingBehind) {
  EXPECT_EQ(fault(), "");
  EXPECT_TRUE(std::filesystem::is_empty(options_.data));
}

TEST_F(PlaceProbeTest, NamesATrainerThatDoesNotRun) {
  options_.trainer = "/bin/false";
  EXPECT_NE(fault().find("the trainer /bin/false does not run here: it exits with 1"), std::string::npos) << fault();
  options_.trainer = folder_ + "/none";
  EXPECT_NE(fault().find("does not run here"), std::string::npos) << fault();
}

TEST_F(PlaceProbeTest, NamesARootOrAFolderOfJobsThatIsNotThere) {
  std::filesystem::remove(folder_ + "/allowed");
  EXPECT_NE(fault().find("--allow " + folder_ + "/allowed"), std::string::npos) << fault();
  EXPECT_TRUE(make_folders(folder_ + "/allowed").ok());
  std::filesystem::remove(folder_ + "/jobs");
  EXPECT_NE(fault().find("mount the same folder on both"), std::string::npos) << fault();
}

TEST_F(PlaceProbeTest, NamesAFolderOfItsOwnThatCannotBeWritten) {
  options_.data = folder_ + "/none";
  EXPECT_NE(fault().find("/none/probe"), std::string::npos) << fault();
}

TEST_F(PlaceProbeTest, TakesNoJobsWhileTheirDiskIsNearlyFullAndComesBackByItself) {
  uint64_t free = 1 << 20;
  DiskGuard guard(10 << 20, options_.jobs_folder, [&free](const std::string&) { return DiskSpace{free, 100 << 20}; });
  options_.jobs_disk = &guard;
  EXPECT_EQ(fault(), "the disk of " + options_.jobs_folder +
                         " has 1 MiB of 100 MiB left, and 10 MiB are kept free (--keep-free)");
  free = 50 << 20;
  EXPECT_EQ(fault(), "");
}

TEST_F(PlaceProbeTest, SaysWhichJobsWouldStillFail) {
  FailedJob job{"job-1", {}, folder_ + "/jobs/job-1"};
  job.job.mutable_model()->set_source("preset:tiny");
  job.job.mutable_data()->add_train(folder_ + "/allowed/text/*.txt");
  job.job.mutable_checkpoint()->set_directory("checkpoints");
  EXPECT_EQ(probe_place(options_, {job}, 1).failing_job_ids_size(), 1);
  EXPECT_EQ(probe_place(options_, {job}, 1).fault(), "");
  EXPECT_TRUE(make_folders(folder_ + "/allowed/text").ok());
  EXPECT_TRUE(write_file_atomically(folder_ + "/allowed/text/a.txt", "a").ok());
  EXPECT_EQ(probe_place(options_, {job}, 2).failing_job_ids_size(), 0);
}

}  // namespace
}  // namespace galleon

#include "common/base/reach.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/ids.h"

namespace galleon {
namespace {

namespace fs = std::filesystem;

// A reach is the process's own, and for good: each test has a process to itself.
class ReachTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::canonical(testing::TempDir()).string() + "/reach-" + random_hex(6);
    for (const char* name : {"/allowed/blobs", "/allowed/snapshot", "/job", "/outside"})
      fs::create_directories(folder_ + name);
    ASSERT_TRUE(write_file_atomically(folder_ + "/allowed/blobs/text", "inside").ok());
    ASSERT_TRUE(write_file_atomically(folder_ + "/outside/key", "secret").ok());
  }
  void TearDown() override { fs::remove_all(folder_); }

  void limited(const std::function<bool()>& holds) {
    EXPECT_EXIT(
        {
          limit_reach({{folder_ + "/allowed"}, {folder_ + "/job"}});
          ::_exit(holds() ? 0 : 1);
        },
        testing::ExitedWithCode(0), "");
  }

  std::string folder_;
};

TEST_F(ReachTest, AFileThatIsParsedHasALargestSizeAndIsRefusedByName) {
  const std::string path = folder_ + "/allowed/tokenizer.json";
  ASSERT_TRUE(write_file_atomically(path, "{}").ok());
  EXPECT_EQ(read_to_parse(path).value_or(""), "{}");
  fs::resize_file(path, kLargestParsed + 1);
  const absl::Status refused = read_to_parse(path).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), path)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "up to 256 MiB")) << refused;
}

using ReachDeathTest = ReachTest;

TEST_F(ReachDeathTest, LinksThatStayInsideAreFollowed) {
  fs::create_symlink("../blobs/text", folder_ + "/allowed/snapshot/relative");
  fs::create_symlink(folder_ + "/allowed/blobs/text", folder_ + "/allowed/snapshot/absolute");
  fs::create_directory_symlink("blobs", folder_ + "/allowed/folder");
  fs::create_symlink(folder_ + "/allowed/blobs/text", folder_ + "/way-in");
  limited([this] {
    return read_file(folder_ + "/allowed/snapshot/relative").value_or("") == "inside" &&
           read_file(folder_ + "/allowed/snapshot/absolute").value_or("") == "inside" &&
           read_file(folder_ + "/allowed/folder/text").value_or("") == "inside" &&
           read_file(folder_ + "/way-in").value_or("") == "inside";
  });
}

TEST_F(ReachDeathTest, WhatLiesOutsideIsRefusedByNameWhateverWayLeadsThere) {
  fs::create_symlink("../../outside/key", folder_ + "/allowed/snapshot/merges.txt");
  fs::create_directory_symlink(folder_ + "/outside", folder_ + "/allowed/model");
  fs::create_symlink("/proc/self/environ", folder_ + "/allowed/environ");
  limited([this] {
    const absl::Status linked = read_file(folder_ + "/allowed/snapshot/merges.txt").status();
    return absl::IsPermissionDenied(linked) && absl::StrContains(linked.message(), folder_ + "/outside/key") &&
           absl::StrContains(linked.message(), folder_ + "/allowed") &&
           absl::IsPermissionDenied(read_file(folder_ + "/allowed/model/key").status()) &&
           absl::IsPermissionDenied(read_file(folder_ + "/allowed/environ").status()) &&
           absl::IsPermissionDenied(read_file(folder_ + "/allowed/../outside/key").status()) &&
           absl::IsPermissionDenied(read_file(folder_ + "/outside/key").status()) &&
           absl::IsNotFound(read_file(folder_ + "/allowed/none").status());
  });
}

TEST_F(ReachDeathTest, AFolderWhoseNameOnlyBeginsAlikeIsOutside) {
  fs::create_directories(folder_ + "/allowed-not");
  ASSERT_TRUE(write_file_atomically(folder_ + "/allowed-not/key", "secret").ok());
  limited([this] { return absl::IsPermissionDenied(read_file(folder_ + "/allowed-not/key").status()); });
}

TEST_F(ReachDeathTest, APipeIsRefusedAndDoesNotHoldTheJob) {
  ASSERT_EQ(::mkfifo((folder_ + "/allowed/pipe").c_str(), 0600), 0);
  limited([this] { return absl::IsPermissionDenied(read_file(folder_ + "/allowed/pipe").status()); });
}

TEST_F(ReachDeathTest, NothingIsWrittenThroughALinkOrOutsideOfTheJobsFolder) {
  fs::create_symlink(folder_ + "/outside/key", folder_ + "/job/metrics.jsonl");
  fs::create_directory_symlink(folder_ + "/outside", folder_ + "/job/checkpoints");
  limited([this] {
    const auto refused = [](const std::string& path) { return !open_to_write(path, O_WRONLY | O_CREAT).ok(); };
    return refused(folder_ + "/job/metrics.jsonl") && refused(folder_ + "/job/checkpoints/new") &&
           refused(folder_ + "/allowed/blobs/text") && !write_file_atomically(folder_ + "/outside/new", "x").ok() &&
           write_file_durably(folder_ + "/job/own", "x").ok() && read_file(folder_ + "/job/own").ok();
  });
  EXPECT_EQ(*read_file(folder_ + "/outside/key"), "secret");
}

TEST_F(ReachDeathTest, NoExchangeOfALinkInBetweenLeadsOutside) {
  limited([this] {
    const std::string path = folder_ + "/allowed/swapped";
    std::atomic<bool> stop = false;
    std::atomic<int> swaps = 0;
    std::thread attacker([&] {
      for (int i = 0; !stop; ++i) {
        fs::create_symlink(i % 2 == 0 ? "../outside/key" : "blobs/text", path + ".new");
        fs::rename(path + ".new", path);
        ++swaps;
      }
    });
    int read = 0;
    int refused = 0;
    bool sound = true;
    // Both happen often, or it was no race.
    while (sound && (swaps < 5000 || read < 500 || refused < 500)) {
      const absl::StatusOr<std::string> text = read_file(path);
      read += text.ok() ? 1 : 0;
      refused += absl::IsPermissionDenied(text.status()) ? 1 : 0;
      sound =
          text.ok() ? *text == "inside" : absl::IsPermissionDenied(text.status()) || absl::IsNotFound(text.status());
    }
    stop = true;
    attacker.join();
    return sound;
  });
}

}  // namespace
}  // namespace galleon

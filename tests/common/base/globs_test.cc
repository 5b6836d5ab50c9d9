#include "common/base/globs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace galleon {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

class Globs : public testing::Test {
 protected:
  Globs() : folder_(testing::TempDir() + "globs-" + std::to_string(::getpid())) {
    fs::remove_all(folder_);
    for (const char* name : {"top.txt", "a/one.txt", "a/b/two.txt", "a/b/c/three.txt", "a/b/other.md", ".hidden/x.txt",
                             "[draft] *.txt", "[odd]/in.txt", "x,y{1}.txt"}) {
      fs::create_directories((folder_ / name).parent_path());
      std::ofstream(folder_ / name) << name;
    }
    // A circle, and a way out.
    fs::create_directory_symlink("..", folder_ / "a/up");
  }
  ~Globs() override { fs::remove_all(folder_); }

  std::vector<std::string> found(const std::string& pattern) const {
    std::vector<std::string> names;
    for (const std::string& file : glob_paths((folder_ / pattern).string()))
      names.push_back(fs::path(file).lexically_relative(folder_).string());
    return names;
  }

  fs::path folder_;
};

TEST_F(Globs, TwoStarsAreFoldersOfAnyDepth) {
  EXPECT_THAT(found("a/**/*.txt"), ElementsAre("a/b/c/three.txt", "a/b/two.txt", "a/one.txt"));
  EXPECT_THAT(found("a/**/b/*.txt"), ElementsAre("a/b/two.txt"));
  EXPECT_THAT(found("**/b/**/*.{md,txt}"), ElementsAre("a/b/c/three.txt", "a/b/other.md", "a/b/two.txt"));
  EXPECT_THAT(found("**/in.txt"), ElementsAre("[odd]/in.txt"));
  EXPECT_THAT(found("**/x.txt"), IsEmpty()) << "hidden";
}

TEST_F(Globs, ANameThatExistsIsThatFile) {
  EXPECT_THAT(found("[draft] *.txt"), ElementsAre("[draft] *.txt"));
  EXPECT_THAT(found("x,y{1}.txt"), ElementsAre("x,y{1}.txt"));
}

TEST_F(Globs, EachFileComesOnceInAPattern) {
  EXPECT_THAT(found("{a/b/two.txt,a/*.txt,a/*/two.txt}"), ElementsAre("a/b/two.txt", "a/one.txt"));
  EXPECT_THAT(found("none*"), IsEmpty());
}

TEST(MatchesGlob, IsWhatGlobPathsWouldFind) {
  const struct {
    const char* pattern;
    const char* path;
    bool matches;
  } cases[] = {
      {"s3://b/*.parquet", "s3://b/a.parquet", true},
      {"s3://b/*.parquet", "s3://b/a/b.parquet", false},
      {"s3://b/**/*.parquet", "s3://b/a.parquet", true},
      {"s3://b/**/*.parquet", "s3://b/x/y/a.parquet", true},
      {"s3://b/**", "s3://b/x/y/a.parquet", true},
      {"s3://b/**/x/*.txt", "s3://b/y/z/a.txt", false},
      {"s3://b/{train,test}-0[01].jsonl", "s3://b/test-01.jsonl", true},
      {"s3://b/{train,test}-0[01].jsonl", "s3://b/test-02.jsonl", false},
      {"s3://b/*", "s3://b/.hidden", false},
      {"s3://b/**", "s3://b/.git/a", false},
      {"s3://b/?.txt", "s3://b/ab.txt", false},
      {"s3://b/a.txt", "s3://b/a.txt", true},
  };
  for (const auto& one : cases)
    EXPECT_EQ(matches_glob(one.pattern, one.path), one.matches) << one.pattern << " " << one.path;
}

}  // namespace
}  // namespace galleon

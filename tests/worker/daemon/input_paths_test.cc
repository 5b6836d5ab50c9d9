#include "worker/daemon/input_paths.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/base/files.h"
#include "common/base/ids.h"

namespace galleon {
namespace {

class InputPathsTest : public testing::Test {
 protected:
  InputPathsTest() {
    for (const char* name : {"/allowed/models", "/allowed-too", "/outside", "/jobs/j"}) {
      EXPECT_TRUE(make_folders(folder_ + name).ok());
    }
    EXPECT_TRUE(write_file_atomically(folder_ + "/outside/x.txt", "x").ok());
    job_.mutable_model()->set_source("preset:tiny");
    job_.set_tokenizer("bytes");
    job_.mutable_data()->add_train(folder_ + "/allowed/*.txt");
    job_.mutable_checkpoint()->set_directory("checkpoints");
    job_.mutable_checkpoint()->set_resume("auto");
  }
  ~InputPathsTest() override { std::filesystem::remove_all(folder_); }
  absl::Status check() const {
    return check_input_paths(job_, folder_ + "/jobs/j", *resolve_roots({folder_ + "/allowed"}), {});
  }

  const std::string folder_ = std::filesystem::canonical(testing::TempDir()).string() + "/paths-" + random_hex(4);
  v1::Job job_;
};

TEST_F(InputPathsTest, PresetsBytesAndPathsBelowARootAreAllowed) {
  EXPECT_TRUE(check().ok()) << check();
  job_.mutable_model()->set_source(folder_ + "/allowed/models");
  job_.set_tokenizer(folder_ + "/allowed/models/tokenizer.model");
  job_.mutable_data()->add_validation(folder_ + "/jobs/j/own.txt");
  EXPECT_TRUE(check().ok()) << check();
}

TEST_F(InputPathsTest, ARootIsAFolderAndNotAPrefix) {
  job_.mutable_data()->set_train(0, folder_ + "/allowed-too/a.txt");
  EXPECT_EQ(check().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(check().message().find("data.train"), 0u);
}

TEST_F(InputPathsTest, DotsAndLinksDoNotLeadOut) {
  job_.mutable_data()->set_train(0, folder_ + "/allowed/../outside/x.txt");
  EXPECT_FALSE(check().ok());
  job_.mutable_data()->set_train(0, folder_ + "/allowed/*.txt");
  std::filesystem::create_symlink(folder_ + "/outside/x.txt", folder_ + "/allowed/link.txt");
  EXPECT_FALSE(check().ok());
  job_.mutable_data()->set_train(0, folder_ + "/allowed/none-*.txt");
  EXPECT_TRUE(check().ok());
  std::filesystem::create_directory_symlink(folder_ + "/outside", folder_ + "/allowed/folder");
  job_.mutable_model()->set_source(folder_ + "/allowed/folder/model");
  EXPECT_EQ(check().message().find("model.source"), 0u);
}

TEST_F(InputPathsTest, CheckpointsStayInTheFolderOfTheJob) {
  for (const std::string& directory : {std::string("../other"), std::string("/etc"), folder_ + "/allowed"}) {
    job_.mutable_checkpoint()->set_directory(directory);
    EXPECT_EQ(check().message().find("checkpoint.directory"), 0u) << directory;
  }
  job_.mutable_checkpoint()->set_directory("a/../b");
  EXPECT_TRUE(check().ok());
  job_.mutable_checkpoint()->set_resume(folder_ + "/outside/step-1");
  EXPECT_EQ(check().message().find("checkpoint.resume"), 0u);
}

TEST_F(InputPathsTest, AddressesAreAllowedBelowAnAddress) {
  const std::vector<std::string> roots = *resolve_roots({folder_ + "/allowed", "s3://team/corpus/"});
  const struct {
    const char* address;
    bool allowed;
  } cases[] = {
      {"s3://team/corpus/a.parquet", true},    {"s3://team/corpus/**/*.parquet", true},
      {"s3://team/corpus-2/a.parquet", false}, {"s3://team/corp*/a.parquet", false},
      {"s3://other/corpus/a.parquet", false},  {"gs://team/corpus/a.parquet", false},
      {"s3://team/corpus/../key", false},      {"https://team/corpus/a", false},
      {"s3://a:b@team/corpus/a", false},
  };
  for (const auto& one : cases) {
    job_.mutable_data()->set_train(0, one.address);
    const absl::Status status = check_input_paths(job_, folder_ + "/jobs/j", roots, {});
    EXPECT_EQ(status.ok(), one.allowed) << one.address << " " << status;
    EXPECT_FALSE(check().ok()) << one.address;
  }
  EXPECT_EQ(resolve_roots({"https://x/y"}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(InputPathsTest, CopiesGoWhereTheyMayAndNowhereElse) {
  const auto status = [&](const char* copy_to, const char* resume) {
    if (copy_to != nullptr) job_.mutable_checkpoint()->set_copy_to(copy_to);
    job_.mutable_checkpoint()->set_resume(resume);
    return check_input_paths(job_, folder_ + "/jobs/j", {folder_ + "/allowed", "s3://team/corpus"},
                             *resolve_copies({"s3://team/runs/"}));
  };
  EXPECT_TRUE(status("s3://team/runs/a", "auto").ok());
  EXPECT_TRUE(status("s3://team/runs/a", "s3://team/runs/b/step-00000002").ok());
  EXPECT_TRUE(status("s3://team/runs/a", "s3://team/corpus/step-00000002").ok());
  EXPECT_EQ(status("s3://team/runs/a", "s3://team/other/step-00000002").message().find("checkpoint.resume"), 0U);
  for (const char* address : {"s3://team/corpus/a", "s3://team/runs-2", "s3://team/runs/../corpus", "gs://team/runs/a"})
    EXPECT_EQ(status(address, "auto").message().find("checkpoint.copy_to"), 0U) << address;
  EXPECT_EQ(resolve_copies({"https://team/runs"}).status().message(),
            "--allow-copies https:// is not read; download it and write its path; s3://, gs:// and abfs:// are read");
  EXPECT_FALSE(resolve_copies({"/srv/runs"}).ok());
}

TEST_F(InputPathsTest, ARootThatIsMissingIsNamed) {
  EXPECT_NE(resolve_roots({folder_ + "/nowhere"}).status().message().find("/nowhere"), std::string::npos);
}

}  // namespace
}  // namespace galleon

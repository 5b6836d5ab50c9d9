// Files that come with a job: whole or refused, once, in the job's own folder, and gone where no job came for them.
#include "server/api/attachments.h"

#include <filesystem>
#include <future>

#include "common/net/certificates.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

namespace fs = std::filesystem;

class AttachmentsTest : public ServerTest {
 protected:
  grpc::Status attach(const std::string& request_id, const std::string& name, uint64_t offset, const std::string& data,
                      uint64_t* bytes = nullptr) {
    v1::AttachFileRequest request;
    request.set_request_id(request_id);
    request.set_name(name);
    request.set_offset(offset);
    request.set_data(data);
    v1::AttachFileResponse response;
    const grpc::Status status = jobs_->AttachFile(context().get(), request, &response);
    if (bytes != nullptr) *bytes = response.bytes();
    return status;
  }
  static v1::Job with_tokenizer(const std::string& content, const std::string& name = "tokenizer/tokenizer.json") {
    v1::Job job = job_named("novels");
    job.set_tokenizer("attached:tokenizer");
    v1::AttachedFile& file = *job.add_attached();
    file.set_name(name);
    file.set_bytes(content.size());
    file.set_sha256(sha256_hex(content));
    return job;
  }
  std::string jobs_folder() const { return folder_ + "/data/jobs"; }
  size_t waiting() const {
    std::error_code error;
    return static_cast<size_t>(std::distance(fs::directory_iterator(jobs_folder() + "/.attached", error), {}));
  }
};

TEST_F(AttachmentsTest, FilesComeInPiecesAndGoToTheJobsOwnFolder) {
  start();
  uint64_t bytes = 0;
  ASSERT_TRUE(attach("r", "tokenizer/tokenizer.json", 0, "abc").ok());
  ASSERT_TRUE(attach("r", "tokenizer/tokenizer.json", 3, "def").ok());
  // An answer that was lost.
  ASSERT_TRUE(attach("r", "tokenizer/tokenizer.json", 3, "def", &bytes).ok());
  EXPECT_EQ(bytes, 6);
  v1::JobRecord record;
  const grpc::Status status = create(with_tokenizer("abcdef"), record, "r");
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(record.job().tokenizer(), record.folder() + "/attached/tokenizer");
  EXPECT_TRUE(eventually(
      [&] { return read_file(record.folder() + "/attached/tokenizer/tokenizer.json").value_or("") == "abcdef"; }));
  EXPECT_EQ(waiting(), 0);
  v1::JobRecord again;
  ASSERT_TRUE(create(with_tokenizer("abcdef"), again, "r").ok());
  EXPECT_EQ(again.job_id(), record.job_id());
  const grpc::Status other = create(with_tokenizer("abcdeg"), again, "r");
  EXPECT_EQ(other.error_code(), grpc::StatusCode::ALREADY_EXISTS) << other.error_message();
}

TEST_F(AttachmentsTest, AJobWhoseFilesAreNotThereWholeIsRefused) {
  start();
  v1::JobRecord record;
  EXPECT_EQ(create(with_tokenizer("abcdef"), record, "r").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(attach("r", "tokenizer/tokenizer.json", 0, "abc").ok());
  const grpc::Status half = create(with_tokenizer("abcdef"), record, "r");
  EXPECT_EQ(half.error_message(), "attached: tokenizer/tokenizer.json has not come whole; submit the job again");
  ASSERT_TRUE(attach("r", "tokenizer/tokenizer.json", 3, "xyz").ok());
  EXPECT_EQ(create(with_tokenizer("abcdef"), record, "r").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  // Of another request.
  EXPECT_EQ(create(with_tokenizer("abcxyz"), record, "s").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(create(with_tokenizer("abcxyz"), record, "r").ok());
}

TEST_F(AttachmentsTest, NamesSizesAndPathsThatAreNotAcceptedAreRefusedByName) {
  start();
  for (const char* name : {"", "../x", "a/../b", ".hidden", "a/b/c", "/etc/x", "a b"}) {
    EXPECT_EQ(attach("r", name, 0, "x").error_code(), grpc::StatusCode::INVALID_ARGUMENT) << name;
    v1::JobRecord record;
    EXPECT_EQ(create(with_tokenizer("x", name), record, "r").error_code(), grpc::StatusCode::INVALID_ARGUMENT) << name;
  }
  EXPECT_EQ(attach("", "a", 0, "x").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(attach("r", "a", 5, "x").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(attach("r", "a", 0, std::string(400 << 10, 'x')).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::JobRecord record;
  v1::Job job = with_tokenizer("x");
  EXPECT_EQ(create(job, record).error_message(), "request_id: must be given where files come with the job");
  job.set_tokenizer("attached:elsewhere");
  EXPECT_EQ(create(job, record, "r").error_message(),
            "attached: no such file was sent with the job: attached:elsewhere");
  job = with_tokenizer("x");
  job.mutable_attached(0)->set_bytes(kMostAttachedBytes + 1);
  EXPECT_EQ(create(job, record, "r").error_message(), "attached: at most 32 files and 32 MiB are taken with a job");
}

TEST_F(AttachmentsTest, AJobsFilesHaveAnEndTogether) {
  start();
  for (int i = 0; i < kMostAttachedFiles; ++i) ASSERT_TRUE(attach("r", absl::StrCat("a", i), 0, "x").ok());
  const grpc::Status status = attach("r", "one-more", 0, "x");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_TRUE(attach("r", "a3", 0, "y").ok());
  EXPECT_TRUE(attach("s", "a0", 0, "x").ok());
}

class OnDisk : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (fs::temp_directory_path() / absl::StrCat("galleon-attached-", random_hex(8))).string();
    fs::create_directories(folder_);
    folders_ = std::make_unique<JobFolders>(folder_, make_folders);
    attachments_ = std::make_unique<Attachments>(folder_, folders_.get());
  }
  void TearDown() override {
    folders_.reset();
    fs::remove_all(folder_);
  }
  absl::StatusOr<uint64_t> take(const std::string& caller, const std::string& id, const std::string& data,
                                uint64_t offset = 0) {
    v1::AttachFileRequest request;
    request.set_request_id(id);
    request.set_name("f");
    request.set_offset(offset);
    request.set_data(data);
    std::promise<absl::StatusOr<uint64_t>> promise;
    attachments_->take(caller, request,
                       [&promise](const absl::StatusOr<uint64_t>& taken) { promise.set_value(taken); });
    return promise.get_future().get();
  }
  // Until all that was asked before is done.
  void settle() {
    std::promise<void> done;
    folders_->perform([] { return absl::OkStatus(); }, [&done](const absl::Status&) { done.set_value(); });
    done.get_future().wait();
  }
  std::string folder_;
  std::unique_ptr<JobFolders> folders_;
  std::unique_ptr<Attachments> attachments_;
};

TEST_F(OnDisk, CallersDoNotMeet) {
  EXPECT_NE(attachments_->waiting_folder("ann", "r"), attachments_->waiting_folder("bob", "r"));
  EXPECT_NE(attachments_->waiting_folder("ann", "1r"), attachments_->waiting_folder("ann1", "r"));
}

TEST_F(OnDisk, WhatAnEndedProcessLeftUndoneIsDoneAndDoneTwiceIsNoError) {
  ASSERT_TRUE(take("ann", "r", "x").ok());
  for (int i = 0; i < 2; ++i) attachments_->hand_over("ann", "r", folder_ + "/novels-1");
  settle();
  EXPECT_EQ(read_file(folder_ + "/novels-1/attached/f").value_or(""), "x");
}

TEST_F(OnDisk, WhatNoJobCameForGoesAfterADayAndNotBefore) {
  ASSERT_TRUE(take("ann", "old", "x").ok());
  ASSERT_TRUE(take("ann", "new", "x").ok());
  const std::string old = attachments_->waiting_folder("ann", "old");
  fs::last_write_time(old, fs::file_time_type::clock::now() - std::chrono::hours(25));
  attachments_->sweep();
  settle();
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(attachments_->waiting_folder("ann", "new")));
}

TEST_F(OnDisk, TooManyThatWaitAreAnEndOfIt) {
  for (int i = 0; i < 256; ++i) ASSERT_TRUE(take("ann", absl::StrCat("r", i), "x").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(take("ann", "more", "x").status()));
  EXPECT_TRUE(take("ann", "r7", "yy").ok());
}

TEST_F(OnDisk, ALinkInAFilesPlaceIsNotFollowed) {
  ASSERT_TRUE(take("ann", "r", "x").ok());
  const std::string place = attachments_->waiting_folder("ann", "r") + "/f";
  fs::remove(place);
  fs::create_symlink(folder_ + "/elsewhere", place);
  EXPECT_FALSE(take("ann", "r", "x").ok());
  EXPECT_FALSE(fs::exists(folder_ + "/elsewhere"));
}

TEST_F(OnDisk, ShuttingDownAnswersWhoWaits) {
  attachments_->shut_down();
  EXPECT_TRUE(absl::IsUnavailable(take("ann", "r", "x").status()));
}

}  // namespace
}  // namespace galleon::server

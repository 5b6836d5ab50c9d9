// Who has no credential fills a file of its own, by the minute, and pushes nobody's lines out.
#include "server/api/audit.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/ids.h"

namespace galleon::server {
namespace {

class HandClock final : public Clock {
 public:
  absl::Time now() const override { return absl::FromUnixSeconds(1'700'000'000) + at; }
  absl::Duration monotonic() const override { return at; }
  absl::Duration at = absl::Hours(1);
};

class AuditTest : public testing::Test {
 protected:
  AuditTest() : folder_(absl::StrCat(testing::TempDir(), "audit-", random_hex(8))) {
    std::filesystem::create_directory(folder_);
  }
  ~AuditTest() override { std::filesystem::remove_all(folder_); }
  std::vector<std::string> lines(const std::string& name) const {
    return absl::StrSplit(read_file(absl::StrCat(folder_, "/", name)).value_or(""), '\n', absl::SkipEmpty());
  }

  const std::string folder_;
  HandClock clock_;
};

TEST_F(AuditTest, CallsOfNobodyAreCountedByTheMinuteAndLeaveTheOthersAlone) {
  {
    Audit audit(folder_, &clock_, 4'000);
    audit.record("ann", "ipv4:10.0.0.1:4711", "CancelJob", "jobs/a-1", absl::OkStatus());
    for (int i = 0; i < 90'000; ++i)
      audit.record("", absl::StrCat("ipv4:10.0.0.2:", i % 60'000), "CreateJob", "", absl::UnauthenticatedError("no"));
    clock_.at += absl::Minutes(2);
    audit.record("", "ipv4:10.0.0.3:1", "CreateJob", "", absl::UnauthenticatedError("no"));
    audit.record("bob", "ipv4:10.0.0.1:4712", "CancelJob", "jobs/a-1", absl::PermissionDeniedError("not yours"));
    audit.record("", "ipv4:10.0.0.3:2", "DrainWorker", "", absl::UnauthenticatedError("no"));
  }
  const std::vector<std::string> known = lines("audit.jsonl");
  ASSERT_EQ(known.size(), 2U);
  EXPECT_THAT(known[0], testing::HasSubstr("\"caller\":\"ann\""));
  EXPECT_THAT(known[1], testing::HasSubstr("PERMISSION_DENIED"));
  const std::vector<std::string> unknown = lines("audit-unknown.jsonl");
  ASSERT_EQ(unknown.size(), 4U);
  EXPECT_THAT(unknown[0], testing::HasSubstr("\"peer\":\"ipv4:10.0.0.2\",\"method\":\"CreateJob\",\"calls\":1,"));
  EXPECT_THAT(unknown[1], testing::HasSubstr("\"calls\":89999,"));
  EXPECT_THAT(unknown[2], testing::HasSubstr("\"peer\":\"ipv4:10.0.0.3\""));
  EXPECT_THAT(unknown[3], testing::HasSubstr("DrainWorker")) << "counted until the end";
}

TEST_F(AuditTest, AddressesBeyondAThousandAreCountedTogether) {
  {
    Audit audit(folder_, &clock_);
    for (int i = 0; i < 1'500; ++i)
      audit.record("", absl::StrCat("ipv4:10.0.", i / 250, ".", i % 250, ":5"), "CreateJob", "",
                   absl::UnauthenticatedError("no"));
  }
  const std::vector<std::string> unknown = lines("audit-unknown.jsonl");
  EXPECT_EQ(unknown.size(), 1U + 1'000 + 1);
  EXPECT_THAT(unknown.back(), testing::HasSubstr("\"peer\":\"others\",\"calls\":499,"));
}

}  // namespace
}  // namespace galleon::server

#include "server/core/refusal.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"

namespace galleon::server {
namespace {

TEST(Refusal, CarriesItsReasonBesideItsSentence) {
  const absl::Status refused = refusal(v1::ErrorInfo::NEVER_FITS, "needs more than there is");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(refused.message(), "needs more than there is");
  EXPECT_EQ(reason_of(refused), v1::ErrorInfo::NEVER_FITS);
  const absl::StatusOr<int> passed_on = refused;
  EXPECT_EQ(reason_of(passed_on.status()), v1::ErrorInfo::NEVER_FITS);
}

TEST(Refusal, AReasonCanBeAddedToWhatHasACode) {
  const absl::Status refused = with_reason(absl::DeadlineExceededError("took too long"), v1::ErrorInfo::PLAN_FAILED);
  EXPECT_EQ(refused.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(reason_of(refused), v1::ErrorInfo::PLAN_FAILED);
  EXPECT_TRUE(with_reason(absl::OkStatus(), v1::ErrorInfo::PLAN_FAILED).ok());
  EXPECT_EQ(reason_of(absl::InternalError("?")), v1::ErrorInfo::REASON_UNSPECIFIED);
  EXPECT_EQ(reason_of(absl::OkStatus()), v1::ErrorInfo::REASON_UNSPECIFIED);
}

// The reference is made from the comments in error.proto.
TEST(Refusal, ComesWithTheCodeThatErrorProtoNames) {
  const absl::StatusOr<std::string> text = read_file(absl::StrCat(GALLEON_SOURCE_DIR, "/proto/galleon/v1/error.proto"));
  ASSERT_TRUE(text.ok()) << text.status();
  const google::protobuf::EnumDescriptor& reasons = *v1::ErrorInfo::Reason_descriptor();
  for (int i = 1; i < reasons.value_count(); ++i) {
    const auto reason = static_cast<v1::ErrorInfo::Reason>(reasons.value(i)->number());
    const std::string line = absl::StrCat("    ", reasons.value(i)->name(), " = ", reason, ";");
    const size_t at = text->find(line);
    ASSERT_NE(at, std::string::npos) << line;
    const std::string comment = text->substr(at + line.size(), text->find('\n', at) - at - line.size());
    const std::vector<std::string> words = absl::StrSplit(comment, absl::ByAnyChar(" :/"), absl::SkipEmpty());
    ASSERT_FALSE(words.empty()) << line;
    absl::StatusCode named = absl::StatusCode::kOk;
    for (int code = 1; code <= 16; ++code) {
      if (absl::StatusCodeToString(static_cast<absl::StatusCode>(code)) == words[0])
        named = static_cast<absl::StatusCode>(code);
    }
    if (named != absl::StatusCode::kOk) {
      EXPECT_EQ(refusal(reason, "").code(), named) << line;
    }
  }
}

}  // namespace
}  // namespace galleon::server

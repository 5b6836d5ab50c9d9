#include "server/core/refusal.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"

namespace galleon::server {

namespace {

constexpr absl::string_view kPayload = "galleon/reason";
constexpr absl::string_view kQuotaPayload = "galleon/quota";

absl::StatusCode code_of(v1::ErrorInfo::Reason reason) {
  switch (reason) {
    case v1::ErrorInfo::JOB_NOT_FOUND:
    case v1::ErrorInfo::WORKER_NOT_FOUND:
    case v1::ErrorInfo::QUEUE_NOT_FOUND:
    case v1::ErrorInfo::GROUP_NOT_FOUND:
    case v1::ErrorInfo::NOT_REGISTERED:
      return absl::StatusCode::kNotFound;
    case v1::ErrorInfo::NEVER_FITS:
    case v1::ErrorInfo::JOB_HAS_ENDED:
    case v1::ErrorInfo::VERSION_MISMATCH:
    case v1::ErrorInfo::EPOCH_OVER:
    case v1::ErrorInfo::JOB_HAS_NOT_ENDED:
    case v1::ErrorInfo::JOB_IS_NEEDED:
    case v1::ErrorInfo::JOB_HOLDS_SLOTS:
    case v1::ErrorInfo::JOB_HOLDS_NO_SLOTS:
    case v1::ErrorInfo::WORKER_NOT_GONE:
      return absl::StatusCode::kFailedPrecondition;
    case v1::ErrorInfo::REQUEST_ID_REUSED:
    case v1::ErrorInfo::LEASE_HELD:
      return absl::StatusCode::kAlreadyExists;
    case v1::ErrorInfo::ETAG_MISMATCH:
    case v1::ErrorInfo::NAME_TAKEN:
      return absl::StatusCode::kAborted;
    case v1::ErrorInfo::REVISION_TOO_OLD:
      return absl::StatusCode::kOutOfRange;
    case v1::ErrorInfo::TOO_MANY_STREAMS:
    case v1::ErrorInfo::RATE_LIMITED:
    case v1::ErrorInfo::BACKUP_IN_PROGRESS:
    case v1::ErrorInfo::QUOTA_EXCEEDED:
      return absl::StatusCode::kResourceExhausted;
    default:
      GALLEON_CHECK(false) << v1::ErrorInfo::Reason_Name(reason) << " comes with several codes";
      return absl::StatusCode::kUnknown;
  }
}

}  // namespace

absl::Status refusal(v1::ErrorInfo::Reason reason, absl::string_view sentence) {
  return with_reason(absl::Status(code_of(reason), sentence), reason);
}

absl::Status quota_refusal(const QuotaDetails& quota, absl::string_view sentence) {
  absl::Status status = refusal(v1::ErrorInfo::QUOTA_EXCEEDED, sentence);
  status.SetPayload(kQuotaPayload,
                    absl::Cord(absl::StrCat(quota.resource, " ", quota.used, " ", quota.limit, " ", quota.subject)));
  return status;
}

std::optional<QuotaDetails> quota_details(const absl::Status& status) {
  const auto text = status.GetPayload(kQuotaPayload);
  if (!text.has_value()) return std::nullopt;
  const std::vector<std::string> parts = absl::StrSplit(std::string(*text), absl::MaxSplits(' ', 3));
  QuotaDetails quota{parts[3], parts[0], 0, 0};
  if (!absl::SimpleAtoi(parts[1], &quota.used) || !absl::SimpleAtoi(parts[2], &quota.limit)) return std::nullopt;
  return quota;
}

absl::Status with_reason(absl::Status status, v1::ErrorInfo::Reason reason) {
  if (!status.ok()) status.SetPayload(kPayload, absl::Cord(v1::ErrorInfo::Reason_Name(reason)));
  return status;
}

v1::ErrorInfo::Reason reason_of(const absl::Status& status) {
  const auto word = status.GetPayload(kPayload);
  v1::ErrorInfo::Reason reason = v1::ErrorInfo::REASON_UNSPECIFIED;
  if (word.has_value()) v1::ErrorInfo::Reason_Parse(std::string(*word), &reason);
  return reason;
}

}  // namespace galleon::server

#include "server/api/errors.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/bounded_text.h"
#include "galleon/v1/error.pb.h"
#include "server/core/refusal.h"

namespace galleon::server {

namespace {

// Google's names, so that every gRPC library recognises the details.
void pack(const google::protobuf::Message& message, const char* type, v1::RpcStatus& status) {
  google::protobuf::Any& any = *status.add_details();
  any.set_type_url(std::string("type.googleapis.com/google.rpc.") + type);
  any.set_value(message.SerializeAsString());
}

// "job.training.steps" of "job.training.steps: must be given"; empty if the message does not begin so.
absl::string_view field_of(absl::string_view message) {
  const size_t colon = message.find(": ");
  if (colon == absl::string_view::npos || colon == 0) return "";
  const absl::string_view field = message.substr(0, colon);
  const bool path = std::all_of(field.begin(), field.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_' || c == '.' || c == '[' || c == ']';
  });
  return path ? field : "";
}

// A status travels in headers, and clients refuse more than 8 KiB of them: the message is there with every byte that is
// not ASCII in three, and once or twice more in the details, in base64. What a caller sent is often part of the
// sentence.
constexpr size_t kLongestMessage = 1'200;

}  // namespace

grpc::Status to_grpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = bounded_text(status.message(), kLongestMessage);
  v1::RpcStatus details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  v1::ErrorInfo info;
  const v1::ErrorInfo::Reason reason = reason_of(status);
  info.set_reason(reason == v1::ErrorInfo::REASON_UNSPECIFIED ? absl::StatusCodeToString(status.code())
                                                              : v1::ErrorInfo::Reason_Name(reason));
  info.set_domain("galleon");
  v1::QuotaFailure full;
  if (const auto quota = quota_details(status); quota.has_value()) {
    auto& metadata = *info.mutable_metadata();
    metadata["resource"] = quota->resource;
    metadata["used"] = absl::StrCat(quota->used);
    metadata["limit"] = absl::StrCat(quota->limit);
    v1::QuotaFailure::Violation& violation = *full.add_violations();
    violation.set_subject(quota->subject);
    violation.set_description(message);
  }
  pack(info, "ErrorInfo", details);
  v1::BadRequest bad;
  if (status.code() == absl::StatusCode::kInvalidArgument) {
    for (const absl::string_view line : absl::StrSplit(message, '\n', absl::SkipEmpty())) {
      const absl::string_view field = field_of(line);
      if (field.empty()) continue;
      v1::BadRequest::FieldViolation& violation = *bad.add_field_violations();
      violation.set_field(std::string(field));
      violation.set_description(std::string(line.substr(field.size() + 2)));
    }
  }
  if (full.violations_size() > 0) pack(full, "QuotaFailure", details);
  if (bad.field_violations_size() > 0) pack(bad, "BadRequest", details);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message, details.SerializeAsString());
}

}  // namespace galleon::server

#include "server/http/error_json.h"

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "galleon/v1/error.pb.h"

namespace galleon::server {

namespace {

using Json = nlohmann::ordered_json;

// As google.rpc.Code says.
int http_status_of(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

HttpError written(int status, absl::StatusCode code, const std::string& message, std::string reason, Json fields) {
  Json error = {{"code", status}, {"status", absl::StatusCodeToString(code)}};
  error["reason"] = reason.empty() ? absl::StatusCodeToString(code) : std::move(reason);
  error["message"] = message;
  if (!fields.empty()) error["fields"] = std::move(fields);
  return {status, Json{{"error", error}}.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"};
}

}  // namespace

HttpError http_error(const grpc::Status& status) {
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  std::string reason;
  Json fields = Json::array();
  v1::RpcStatus details;
  if (details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& any : details.details()) {
      v1::ErrorInfo info;
      v1::BadRequest bad;
      if (absl::EndsWith(any.type_url(), ".ErrorInfo") && info.ParseFromString(any.value())) reason = info.reason();
      if (!absl::EndsWith(any.type_url(), ".BadRequest") || !bad.ParseFromString(any.value())) continue;
      for (const v1::BadRequest::FieldViolation& violation : bad.field_violations())
        fields.push_back({{"field", violation.field()}, {"description", violation.description()}});
    }
  }
  return written(http_status_of(code), code, status.error_message(), std::move(reason), std::move(fields));
}

HttpError http_error(const absl::Status& status) {
  return http_error(http_status_of(status.code()), status);
}

HttpError http_error(int http_status, const absl::Status& status) {
  return written(http_status, status.code(), std::string(status.message()), "", Json::array());
}

}  // namespace galleon::server

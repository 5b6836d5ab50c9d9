// Errors as HTTP has them: a status, and JSON that says what a gRPC client hears.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace galleon::server {

struct HttpError {
  int status = 500;
  std::string body;  // {"error": {"code", "status", "reason", "message", "fields"}}
};

HttpError http_error(const grpc::Status& status);
HttpError http_error(const absl::Status& status);
// Of the interface itself, where HTTP has a status of its own.
HttpError http_error(int http_status, const absl::Status& status);

}  // namespace galleon::server

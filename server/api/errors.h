// From our errors to gRPC's, with the details that a program can read.
#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace galleon::server {

// The same code and message, and as details an ErrorInfo (domain "galleon"; the reason that the status carries or, if
// there is none, the code's name) and, for INVALID_ARGUMENT whose message begins with a field's path and a colon, a
// BadRequest that names the field.
grpc::Status to_grpc(const absl::Status& status);

}  // namespace galleon::server

// Why something is refused: a status that carries, beside its code and sentence, the cause as a word that programs can
// rely on. Who finds the cause names it; whoever passes the status on need not know it.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/error.pb.h"

namespace galleon::server {

// With the code that belongs to the reason, as error.proto lists it.
absl::Status refusal(v1::ErrorInfo::Reason reason, absl::string_view sentence);
// The same status with this reason; an OK status stays as it is.
absl::Status with_reason(absl::Status status, v1::ErrorInfo::Reason reason);
// REASON_UNSPECIFIED: none was given.
v1::ErrorInfo::Reason reason_of(const absl::Status& status);

}  // namespace galleon::server

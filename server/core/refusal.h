// Why something is refused: a status that carries, beside its code and sentence, the cause as a word that programs can
// rely on. Who finds the cause names it; whoever passes the status on need not know it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/error.pb.h"

namespace galleon::server {

// With the code that belongs to the reason, as error.proto lists it.
absl::Status refusal(v1::ErrorInfo::Reason reason, absl::string_view sentence);
// RESOURCE_EXHAUSTED: a quota that is used up, with its figures beside the sentence.
struct QuotaDetails {
  std::string subject;   // as error.proto names it
  std::string resource;  // "queued", "submits_per_minute", "folder_bytes"
  uint64_t used = 0;
  uint64_t limit = 0;
};
absl::Status quota_refusal(const QuotaDetails& quota, absl::string_view sentence);
std::optional<QuotaDetails> quota_details(const absl::Status& status);

// The same status with this reason; an OK status stays as it is.
absl::Status with_reason(absl::Status status, v1::ErrorInfo::Reason reason);
// REASON_UNSPECIFIED: none was given.
v1::ErrorInfo::Reason reason_of(const absl::Status& status);

}  // namespace galleon::server

#include "common/net/trace_id.h"

#include "absl/strings/str_cat.h"
#include "common/net/certificates.h"

namespace galleon {

std::string trace_id_of(absl::string_view job_id, int64_t create_time_ms) {
  return sha256_hex(absl::StrCat(job_id, " ", create_time_ms)).substr(0, 32);
}

}  // namespace galleon

// By which a job's trace is known wherever it is looked at: it follows from the job, and nobody has to keep it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace galleon {

// 32 hexadecimal digits.
std::string trace_id_of(absl::string_view job_id, int64_t create_time_ms);

}  // namespace galleon

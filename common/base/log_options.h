// How a program's log is written, as its options say.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace galleon {

// Lines for people, or an object of JSON a line with time (UTC), level, program and message.
struct LogOptions {
  std::string format = "text";  // or "json"
  std::string level = {};       // "debug", "info", "warning" or "error"; empty: GALLEON_LOG, else `usual`
};

// As the other init_logging(), by options. `usual`: the level that nobody asked for.
void init_logging(absl::string_view program, const LogOptions& options, absl::string_view usual = "info");

}  // namespace galleon

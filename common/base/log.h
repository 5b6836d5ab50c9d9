// Lines on standard error with time, level and program. Libraries log only what an operator can act on.
#pragma once

#include "absl/strings/string_view.h"

#include "absl/strings/str_cat.h"

namespace galleon {

// Names the program in each line. Call once in main. `level`: "debug", "info", "warning" or "error"; GALLEON_LOG
// overrides it.
void init_logging(absl::string_view program, absl::string_view level = "info");

namespace internal {
void log_line(int level, absl::string_view text);
}  // namespace internal

template <typename... Args>
void log_debug(const Args&... args) {
  internal::log_line(0, absl::StrCat(args...));
}
template <typename... Args>
void log_info(const Args&... args) {
  internal::log_line(1, absl::StrCat(args...));
}
template <typename... Args>
void log_warning(const Args&... args) {
  internal::log_line(2, absl::StrCat(args...));
}
template <typename... Args>
void log_error(const Args&... args) {
  internal::log_line(3, absl::StrCat(args...));
}

}  // namespace galleon

#include "common/base/duration_text.h"

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace galleon {

std::string duration_text(absl::Duration duration) {
  if (absl::AbsDuration(duration) == absl::InfiniteDuration()) return absl::FormatDuration(duration);
  const int64_t days = duration / absl::Hours(24);
  const absl::Duration rest = duration % absl::Hours(24);
  if (days == 0) return absl::FormatDuration(rest);
  return absl::StrCat(days, "d", rest == absl::ZeroDuration() ? "" : absl::FormatDuration(absl::AbsDuration(rest)));
}

std::optional<absl::Duration> parse_duration_text(absl::string_view text) {
  absl::Duration duration = absl::ZeroDuration();
  if (const size_t d = text.find('d'); d != absl::string_view::npos) {
    int64_t days = 0;
    if (!absl::SimpleAtoi(text.substr(0, d), &days) || days < 0) return std::nullopt;
    duration = absl::Hours(24) * days;
    text.remove_prefix(d + 1);
    if (text.empty()) return duration;
  }
  absl::Duration rest;
  if (!absl::ParseDuration(text, &rest) || rest < absl::ZeroDuration()) return std::nullopt;
  return duration + rest;
}

}  // namespace galleon

// Durations as people write them: "30d", "1d12h", "1h30m", "45s".
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace galleon {

std::string duration_text(absl::Duration duration);
// Days may come first: "30d", "1d12h"; nothing: it is none, or negative.
std::optional<absl::Duration> parse_duration_text(absl::string_view text);

}  // namespace galleon

#include "client/since.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/jobfile/keys.h"

namespace galleon {

absl::StatusOr<absl::Time> parse_since(const std::string& text) {
  if (text.empty()) return absl::InfinitePast();
  if (const auto seconds = parse_duration(text); seconds.has_value() && *seconds < (1ULL << 40))
    return absl::Now() - absl::Seconds(static_cast<int64_t>(*seconds));
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error) ||
      absl::ParseTime("%Y-%m-%d", text, absl::LocalTimeZone(), &time, &error))
    return time;
  return absl::InvalidArgumentError(absl::StrCat(
      "--since ", text, " is not accepted; a duration such as 10m, 12h or 2d, a day such as 2026-02-28, or ",
      "a time such as 2026-02-28T12:00:00Z"));
}

std::string LogSince::take(absl::string_view line) {
  absl::Time time;
  std::string error;
  // A line need not be read to its end to see that it begins with no time.
  const absl::string_view first = line.substr(0, line.substr(0, 64).find(' '));
  if (!reached_ && absl::ParseTime(absl::RFC3339_full, first, &time, &error)) {
    dated_ = true;
    reached_ = time >= since_;
  }
  return reached_ ? std::string(line) : "";
}

std::string LogSince::add(absl::string_view piece) {
  read_ |= !piece.empty();
  std::string out;
  for (size_t end = piece.find('\n'); end != absl::string_view::npos; end = piece.find('\n')) {
    absl::StrAppend(&rest_, piece.substr(0, end + 1));
    out += take(rest_);
    rest_.clear();
    piece.remove_prefix(end + 1);
  }
  absl::StrAppend(&rest_, piece);
  return out;
}

std::string LogSince::finish() {
  std::string line;
  line.swap(rest_);
  return take(line);
}

}  // namespace galleon

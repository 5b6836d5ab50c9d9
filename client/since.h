// --since: a time as people give it, and the part of a log that is no older.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace galleon {

// "10m" before now, a day in this machine's time zone, or a time of RFC 3339; empty: the beginning of time.
// INVALID_ARGUMENT names --since.
absl::StatusOr<absl::Time> parse_since(const std::string& text);

// Leaves out of a log, which comes in pieces, what is older. A line begins with its time, as Galleon's programs write
// it; one that does not is of the time of the line before it.
class LogSince {
 public:
  explicit LogSince(absl::Time since) : since_(since) {}
  std::string add(absl::string_view piece);
  // The last line, where it has no end.
  std::string finish();
  // Something was read, and no line of it began with a time.
  bool lacks_times() const { return read_ && !dated_; }

 private:
  std::string take(absl::string_view line);

  const absl::Time since_;
  std::string rest_;  // of the line that has no end yet
  bool read_ = false;
  bool dated_ = false;
  bool reached_ = false;
};

}  // namespace galleon

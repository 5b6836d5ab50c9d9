#include "server/api/clock_watch.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace galleon::server {

namespace {

constexpr int64_t kJumpMs = 600'000;                  // more than clocks are corrected by in normal life
constexpr int64_t kLongOffMs = 7LL * 24 * 3'600'000;  // longer than schedulers are off in normal life

std::string utc(int64_t ms) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixMillis(ms), absl::UTCTimeZone());
}

std::string length(int64_t ms) {
  const int64_t hours = std::llabs(ms) / 3'600'000;
  return hours >= 48 ? absl::StrCat(hours / 24, " days") : absl::StrCat(std::llabs(ms) / 60'000, " minutes");
}

}  // namespace

std::string ClockWatch::start(Now now, int64_t journaled_ms) {
  last_ = now;
  if (journaled_ms == 0) return "";
  const int64_t ahead = now.wall_ms - journaled_ms;
  if (ahead > kLongOffMs) {
    return absl::StrCat("the clock (", utc(now.wall_ms), ") is ", length(ahead),
                        " after the newest entry of the journal (", utc(journaled_ms),
                        "): if the scheduler was not off for so long, the clock is wrong; until the next start ages "
                        "count from that entry, and no more than a day's worth of ended jobs is deleted in a day");
  }
  if (ahead < -kJumpMs) {
    return absl::StrCat("the clock (", utc(now.wall_ms), ") is ", length(ahead),
                        " before the newest entry of the journal (", utc(journaled_ms),
                        "): it is wrong, or it was; what was written with the later time is kept for longer");
  }
  return "";
}

std::string ClockWatch::look(Now now) {
  const int64_t jump = (now.wall_ms - last_.wall_ms) - (now.mono_ms - last_.mono_ms);
  last_ = now;
  if (std::llabs(jump) < kJumpMs) return "";
  return absl::StrCat("the clock has jumped ", jump > 0 ? "ahead" : "back", " by ", length(jump), " to ",
                      utc(now.wall_ms),
                      "; leases and time limits go by another clock, and nothing becomes older by it");
}

}  // namespace galleon::server

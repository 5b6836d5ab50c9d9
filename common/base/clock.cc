#include "common/base/clock.h"

#include <time.h>

#include "absl/time/clock.h"

namespace galleon {

absl::Time SystemClock::now() const {
  return absl::Now();
}

absl::Duration SystemClock::monotonic() const {
  timespec ts{};
  clock_gettime(CLOCK_BOOTTIME, &ts);
  return absl::DurationFromTimespec(ts);
}

}  // namespace galleon

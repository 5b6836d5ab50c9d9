// How long a test waits for what must happen.
#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace galleon {

// A guard against hangs alone: what a test waits for comes sooner even where other programs keep every processor busy.
// Shorter than CTest's timeout, so that the test itself says what did not come.
inline constexpr absl::Duration kPatience = absl::Minutes(4);

// Looks every few milliseconds; false when the condition does not come true.
template <typename Condition>
bool eventually(Condition condition) {
  const absl::Time end = absl::Now() + kPatience;
  while (!condition()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

}  // namespace galleon

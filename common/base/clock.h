// Time as an interface, so that tests and the simulation own it.
#pragma once

#include "absl/time/time.h"

namespace galleon {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time, for people and records. May jump.
  virtual absl::Time now() const = 0;
  // Time since an arbitrary start that never jumps, for leases and deadlines. Counts through a suspended machine.
  virtual absl::Duration monotonic() const = 0;
};

// The machine's clocks (CLOCK_REALTIME and CLOCK_BOOTTIME).
class SystemClock final : public Clock {
 public:
  absl::Time now() const override;
  absl::Duration monotonic() const override;
};

}  // namespace galleon

// Tells when the calendar clock does what clocks do not: it has jumped, or it contradicts the journal at the start.
#pragma once

#include <cstdint>
#include <string>

#include "server/core/fleet.h"

namespace galleon::server {

class ClockWatch {
 public:
  // At the start, beside the newest time in the journal (0: it is empty). Empty: nothing is strange. A scheduler that
  // was off for a week looks the same as a clock that is a week ahead.
  std::string start(Now now, int64_t journaled_ms);
  // Each time that the clocks are read: empty, or what the calendar clock has done since the last time.
  std::string look(Now now);

 private:
  Now last_;
};

}  // namespace galleon::server

// Ends this process when its lease is over, whatever the rest of it is blocked in.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/time/time.h"

namespace galleon {

// A thread that does nothing else: it opens, writes and allocates nothing, and nothing is done under its lock.
class LeaseTimer {
 public:
  static constexpr int kExitCode = 75;

  explicit LeaseTimer(absl::Duration lease);
  ~LeaseTimer();
  // Counted from now. The same lease is told again and again, with what is left of it.
  void renew(absl::Duration lease);
  absl::Duration left() const;
  // That was given so far.
  absl::Duration longest() const;

 private:
  void watch();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  absl::Duration end_;  // on the monotonic clock
  absl::Duration longest_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace galleon

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
  // Counted from now.
  void renew(absl::Duration lease);

 private:
  void watch();

  std::mutex mutex_;
  std::condition_variable changed_;
  absl::Duration end_;  // on the monotonic clock
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace galleon

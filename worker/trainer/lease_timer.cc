#include "worker/trainer/lease_timer.h"

#include <unistd.h>

#include <algorithm>

#include "common/base/clock.h"

namespace galleon {

namespace {

absl::Duration now() {
  return SystemClock().monotonic();
}

}  // namespace

LeaseTimer::LeaseTimer(absl::Duration lease) : end_(now() + lease), longest_(lease), thread_([this] { watch(); }) {}

LeaseTimer::~LeaseTimer() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void LeaseTimer::renew(absl::Duration lease) {
  const absl::Duration end = now() + lease;
  const std::lock_guard<std::mutex> lock(mutex_);
  end_ = end;
  longest_ = std::max(longest_, lease);
}

absl::Duration LeaseTimer::left() const {
  const absl::Duration at = now();
  const std::lock_guard<std::mutex> lock(mutex_);
  return end_ - at;
}

absl::Duration LeaseTimer::longest() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return longest_;
}

void LeaseTimer::watch() {
  constexpr absl::Duration kLongestWait = absl::Milliseconds(200);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ending_) {
    const absl::Duration left = end_ - now();
    // Another attempt may begin at any moment. Not even a line in the log: the disk under it may be what hangs. The
    // daemon knows the code.
    if (left <= absl::ZeroDuration()) ::_exit(kExitCode);
    changed_.wait_for(lock, absl::ToChronoMilliseconds(std::clamp(left, absl::Milliseconds(1), kLongestWait)));
  }
}

}  // namespace galleon

// How often each caller may call: a second's worth at once, then so many a second.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "server/core/refusal.h"

namespace galleon::server {

class RateLimit {
 public:
  RateLimit(const Clock* clock, double per_second) : clock_(clock), per_second_(per_second) {}

  // RESOURCE_EXHAUSTED with the limit.
  absl::Status take(const std::string& caller) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const absl::Duration now = clock_->monotonic();
    auto [it, added] = buckets_.try_emplace(caller, Bucket{per_second_, now});
    Bucket& bucket = it->second;
    bucket.left = std::min(per_second_, bucket.left + absl::ToDoubleSeconds(now - bucket.since) * per_second_);
    bucket.since = now;
    if (bucket.left < 1) {
      return refusal(v1::ErrorInfo::RATE_LIMITED,
                     absl::StrCat(caller, " calls more often than ", per_second_, " times a second; slow down"));
    }
    bucket.left -= 1;
    return absl::OkStatus();
  }

  // The callers are others now.
  void forget() {
    const std::lock_guard<std::mutex> lock(mutex_);
    buckets_.clear();
  }

 private:
  struct Bucket {
    double left;
    absl::Duration since;
  };
  const Clock* clock_;
  const double per_second_;
  std::mutex mutex_;
  std::map<std::string, Bucket> buckets_;  // of callers that are known: bounded by the access file
};

}  // namespace galleon::server

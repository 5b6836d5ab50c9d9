// How many jobs a project and each of its users may submit a minute, those that only validate included.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "server/core/quota.h"

namespace galleon::server {

// Of the loop's thread.
class SubmitRates {
 public:
  explicit SubmitRates(const Clock* clock) : clock_(clock) {}
  // QUOTA_EXCEEDED: who may submit so many a minute has done so; says when there is room again.
  absl::Status take(const std::vector<ProjectQuota>& projects, const std::string& project, const std::string& user,
                    uint64_t jobs = 1);

 private:
  // A minute's worth at once, then evenly.
  struct Bucket {
    double left = 0;
    uint64_t limit = 0;
    absl::Duration since;
  };
  Bucket& bucket(const std::string& subject, uint64_t limit);
  absl::Status check(const std::string& subject, const std::string& words, uint64_t limit, uint64_t jobs);

  const Clock* clock_;
  std::map<std::string, Bucket> buckets_;
};

}  // namespace galleon::server

#include "server/api/submit_rates.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/core/refusal.h"

namespace galleon::server {

namespace {

constexpr size_t kMostBuckets = 10'000;

}  // namespace

SubmitRates::Bucket& SubmitRates::bucket(const std::string& subject, uint64_t limit) {
  const absl::Duration now = clock_->monotonic();
  // Who has submitted nothing for a minute is as new.
  if (buckets_.size() >= kMostBuckets)
    std::erase_if(buckets_, [now](const auto& entry) { return now - entry.second.since > absl::Minutes(1); });
  auto [it, added] = buckets_.try_emplace(subject);
  Bucket& found = it->second;
  const auto most = static_cast<double>(limit);
  // A limit that has changed begins anew.
  if (added || found.limit != limit) found = {most, limit, now};
  found.left = std::min(most, found.left + absl::ToDoubleMinutes(now - found.since) * most);
  found.since = now;
  return found;
}

absl::Status SubmitRates::check(const std::string& subject, const std::string& words, uint64_t limit, uint64_t jobs) {
  if (limit == 0) return absl::OkStatus();
  if (jobs > limit) {
    return quota_refusal({subject, "submits_per_minute", jobs, limit},
                         absl::StrCat(words, " may submit ", limit, " jobs a minute, and these are ", jobs));
  }
  const Bucket& found = bucket(subject, limit);
  const auto wanted = static_cast<double>(jobs);
  if (found.left >= wanted) return absl::OkStatus();
  const double wait = std::ceil((wanted - found.left) * 60 / static_cast<double>(limit));
  return quota_refusal({subject, "submits_per_minute", limit, limit},
                       absl::StrCat(words, " has submitted ", limit, " jobs within a minute and may submit ", limit,
                                    ", those that only validate or plan included; try again in ", wait, " s"));
}

absl::Status SubmitRates::take(const std::vector<ProjectQuota>& projects, const std::string& project,
                               const std::string& user, uint64_t jobs) {
  const ProjectQuota quota = quota_of(projects, project);
  const std::string together = quota_subject("project", project);
  const std::string own = quota_subject("project", project, user);
  RETURN_IF_ERROR(check(together, quota_words(project), quota.all.submits_per_minute, jobs));
  RETURN_IF_ERROR(check(own, quota_words(project, user), quota.each_user.submits_per_minute, jobs));
  if (quota.all.submits_per_minute > 0)
    bucket(together, quota.all.submits_per_minute).left -= static_cast<double>(jobs);
  if (quota.each_user.submits_per_minute > 0)
    bucket(own, quota.each_user.submits_per_minute).left -= static_cast<double>(jobs);
  return absl::OkStatus();
}

}  // namespace galleon::server

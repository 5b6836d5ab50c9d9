#include "server/api/log_tally.h"

#include "absl/strings/str_cat.h"
#include "server/core/demand.h"

namespace galleon::server {

void LogTally::add(const std::string& job_id, const Owner& owner, uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Kept& kept = jobs_.try_emplace(job_id, Kept{owner, 0}).first->second;
  kept.bytes += bytes;
  // A job that was moved to another project counts where it began.
  projects_[kept.owner.project] += bytes;
  users_[{kept.owner.project, kept.owner.user}] += bytes;
}

void LogTally::remove(const std::string& job_id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = jobs_.find(job_id);
  if (it == jobs_.end()) return;
  const Kept& kept = it->second;
  projects_[kept.owner.project] -= kept.bytes;
  users_[{kept.owner.project, kept.owner.user}] -= kept.bytes;
  jobs_.erase(it);
}

uint64_t LogTally::of_project(const std::string& project) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = projects_.find(project);
  return it == projects_.end() ? 0 : it->second;
}

uint64_t LogTally::of_user(const std::string& project, const std::string& user) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = users_.find({project, user});
  return it == users_.end() ? 0 : it->second;
}

std::map<std::string, uint64_t> LogTally::projects() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return projects_;
}

std::string LogTally::refusal(const ProjectQuota& quota, const std::string& user, uint64_t bytes) const {
  const auto told = [](const std::string& words, uint64_t limit) {
    return absl::StrCat(words, " keeps ", bytes_text(limit), " of logs, which is all that it may; galleon delete of ",
                        "jobs that have ended frees what they keep");
  };
  if (quota.all.log_bytes > 0 && of_project(quota.project) + bytes > quota.all.log_bytes)
    return told(quota_words(quota.project), quota.all.log_bytes);
  if (quota.each_user.log_bytes > 0 && of_user(quota.project, user) + bytes > quota.each_user.log_bytes)
    return told(quota_words(quota.project, user), quota.each_user.log_bytes);
  return "";
}

}  // namespace galleon::server

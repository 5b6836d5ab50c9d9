#include "server/core/quota.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/core/refusal.h"
#include "server/core/scheduler.h"

namespace galleon::server {

namespace {

constexpr int kMostProjectUsers = 100;  // of a project in one answer

std::string name_of_user(const std::string& user) {
  return user.empty() ? "everybody" : absl::StrCat("user ", user);
}

absl::Status too_many_queued(const std::string& subject, const std::string& words, const std::string& queue,
                             uint64_t queued, uint64_t jobs, uint64_t limit) {
  return quota_refusal(
      {subject, "queued", queued, limit},
      absl::StrCat(words, " has ", count_text(queued, "job"), " waiting and may have ", limit,
                   jobs == 1 ? "" : absl::StrCat("; with these it would have ", queued + jobs),
                   "; wait until some have started, or galleon cancel --queue ", queue, " --state queued"));
}

void fill(const QuotaLimits& limits, v1::QuotaLimits& out) {
  out.set_queued(limits.queued);
  out.set_submits_per_minute(limits.submits_per_minute);
  out.set_log_bytes(limits.log_bytes);
  out.set_folder_bytes(limits.folder_bytes);
}

}  // namespace

ProjectQuota quota_of(const std::vector<ProjectQuota>& projects, const std::string& project) {
  const ProjectQuota* found = nullptr;
  for (const ProjectQuota& quota : projects) {
    if (quota.project == project || (quota.project == "*" && found == nullptr)) found = &quota;
  }
  ProjectQuota quota = found == nullptr ? ProjectQuota() : *found;
  quota.project = project;
  return quota;
}

std::string quota_subject(absl::string_view kind, absl::string_view name) {
  return absl::StrCat(kind, ":", name);
}

std::string quota_subject(absl::string_view kind, absl::string_view name, absl::string_view user) {
  return absl::StrCat(kind, ":", name, "/user:", user);
}

std::string quota_words(const std::string& project) {
  return absl::StrCat("project ", project);
}

std::string quota_words(const std::string& project, const std::string& user) {
  return absl::StrCat(name_of_user(user), " in project ", project);
}

std::string too_much_in_folders(const std::vector<ProjectQuota>& projects, const Usage& usage,
                                const std::string& project, const std::string& user) {
  const ProjectQuota quota = quota_of(projects, project);
  const auto told = [](const std::string& words, uint64_t bytes, uint64_t limit) {
    return absl::StrCat(words, " keeps ", bytes_text(bytes), " in jobs' folders and may keep ", bytes_text(limit),
                        "; galleon delete of jobs that have ended frees what they keep");
  };
  if (quota.all.folder_bytes > 0) {
    const uint64_t bytes = usage.in_project(project).folder_bytes;
    if (bytes > quota.all.folder_bytes) return told(quota_words(project), bytes, quota.all.folder_bytes);
  }
  if (quota.each_user.folder_bytes > 0) {
    const uint64_t bytes = usage.in_project(project, user).folder_bytes;
    if (bytes > quota.each_user.folder_bytes)
      return told(quota_words(project, user), bytes, quota.each_user.folder_bytes);
  }
  return "";
}

bool FolderQuotas::keep_waiting(const v1::JobRecord& record, Wait& wait) {
  if (projects_.empty()) return false;
  const auto [it, added] = known_.try_emplace({record.project(), record.owner()});
  if (added) it->second = too_much_in_folders(projects_, usage_, record.project(), record.owner());
  if (it->second.empty()) return false;
  wait.kind = Wait::Kind::kQuota;
  wait.name = it->second;
  return true;
}

absl::Status Scheduler::check_quota(const std::map<std::string, uint64_t>& jobs_of_queues,
                                    const std::string& owner) const {
  const Usage& usage = state_.usage();
  uint64_t jobs = 0;
  for (const auto& [queue, more] : jobs_of_queues) {
    jobs += more;
    const QueueConfig* config = queue_config(queue);
    if (config == nullptr || config->user_limit_queued == 0) continue;
    const uint64_t queued = usage.in_queue(queue, owner).queued;
    if (queued + more > config->user_limit_queued) {
      return too_many_queued(quota_subject("queue", queue, owner),
                             absl::StrCat(name_of_user(owner), " in queue ", queue), queue, queued, more,
                             config->user_limit_queued);
    }
  }
  // All of them are of one project.
  const std::string& queue = jobs_of_queues.begin()->first;
  const QueueConfig* config = queue_config(queue);
  if (config == nullptr) return absl::OkStatus();
  const ProjectQuota quota = quota_of(options_.projects, config->project);
  const UserInProject all = usage.in_project(config->project);
  const UserInProject own = usage.in_project(config->project, owner);
  if (quota.all.queued > 0 && all.queued + jobs > quota.all.queued) {
    return too_many_queued(quota_subject("project", config->project), quota_words(config->project), queue, all.queued,
                           jobs, quota.all.queued);
  }
  if (quota.each_user.queued > 0 && own.queued + jobs > quota.each_user.queued) {
    return too_many_queued(quota_subject("project", config->project, owner), quota_words(config->project, owner), queue,
                           own.queued, jobs, quota.each_user.queued);
  }
  const std::string full = too_much_in_folders(options_.projects, usage, config->project, owner);
  if (full.empty()) return absl::OkStatus();
  const bool together = quota.all.folder_bytes > 0 && all.folder_bytes > quota.all.folder_bytes;
  return quota_refusal(
      {together ? quota_subject("project", config->project) : quota_subject("project", config->project, owner),
       "folder_bytes", together ? all.folder_bytes : own.folder_bytes,
       together ? quota.all.folder_bytes : quota.each_user.folder_bytes},
      full);
}

void Scheduler::check_folder_quota(Now now, const v1::JobState& job) {
  const v1::JobRecord& record = job.record();
  const std::string full = too_much_in_folders(options_.projects, state_.usage(), record.project(), record.owner());
  // It hands its slots back with the checkpoint that it has just written, and goes on once there is room.
  if (!full.empty() && record.state() == v1::JobRecord::RUNNING) hand_back(now, job, v1::StopOrder::QUOTA, full);
}

std::vector<v1::Project> Scheduler::describe_projects() const {
  std::set<std::string> names;
  for (const QueueConfig& queue : options_.queues) names.insert(queue.project);
  for (const ProjectQuota& quota : options_.projects) names.insert(quota.project);
  for (const auto& [name, users] : state_.usage().projects()) names.insert(name);
  names.erase("*");
  names.erase("");
  std::vector<v1::Project> projects;
  for (const std::string& name : names) {
    v1::Project& project = projects.emplace_back();
    project.set_name(absl::StrCat("projects/", name));
    project.set_project_id(name);
    const ProjectQuota quota = quota_of(options_.projects, name);
    fill(quota.all, *project.mutable_limits());
    fill(quota.each_user, *project.mutable_user_limits());
    const UserInProject all = state_.usage().in_project(name);
    project.mutable_use()->set_queued(all.queued);
    project.mutable_use()->set_folder_bytes(all.folder_bytes);
    const auto users = state_.usage().projects().find(name);
    if (users == state_.usage().projects().end()) continue;
    for (const auto& [user, use] : users->second) {
      v1::QuotaUse& one = *project.add_users();
      one.set_user(user);
      one.set_queued(use.queued);
      one.set_folder_bytes(use.folder_bytes);
    }
    std::stable_sort(project.mutable_users()->begin(), project.mutable_users()->end(),
                     [](const auto& a, const auto& b) { return a.folder_bytes() > b.folder_bytes(); });
    while (project.users_size() > kMostProjectUsers) project.mutable_users()->RemoveLast();
  }
  return projects;
}

}  // namespace galleon::server

// Other queues while jobs wait and run in them, and the project that each job belongs to.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/scheduler.h"

namespace galleon::server {

void Scheduler::reconfigure(Now now, std::vector<QueueConfig> queues) {
  // By the queues that were, before they are gone.
  record_projects(now);
  options_.queues = std::move(queues);
  const std::set<uint64_t> holding = state_.holding();
  for (const uint64_t number : holding) {
    const v1::JobState& job = *state_.job_by_number(number);
    if (queue_config(job.record().queue()) == nullptr)
      give_up_held(now, job, absl::StrCat("its queue ", job.record().queue(), " is not configured any more"));
  }
  for (auto& [number, waiting] : waiting_) waiting.known = false;
  dirty_ = true;
}

// Once in a process: what is submitted to it has a project from the start.
void Scheduler::record_projects(Now now) {
  if (std::exchange(projects_recorded_, true)) return;
  v1::JournalEvent event;
  auto& projects = *event.mutable_projects_recorded()->mutable_projects();
  for (const auto& [number, job] : state_.jobs()) {
    const QueueConfig* config = job->record().project().empty() ? queue_config(job->record().queue()) : nullptr;
    if (config != nullptr) projects[config->id] = config->project;
  }
  if (!projects.empty()) emit(now, std::move(event));
}

void Scheduler::give_up_held(Now now, const v1::JobState& job, const std::string& reason) {
  v1::JournalEvent event;
  event.mutable_slots_held()->set_job_id(job.record().job_id());
  event.mutable_slots_held()->set_reason(reason);
  emit(now, std::move(event));
}

}  // namespace galleon::server

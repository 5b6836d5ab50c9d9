// Other queues while jobs wait and run in them, and the project that each job belongs to.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/scheduler.h"

namespace galleon::server {

namespace {

constexpr int64_t kWaitsPauseMs = 1'000;  // between two looks at who waits for long
constexpr size_t kMostWaits = 200;        // said in one look, so that no round is long

}  // namespace

void Scheduler::reconfigure(Now now, std::vector<QueueConfig> queues, std::vector<ProjectQuota> projects) {
  // By the queues that were, before they are gone.
  record_projects(now);
  options_.queues = std::move(queues);
  options_.projects = std::move(projects);
  record_half_lives(now);
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
    const JobFacts facts = job.facts();
    const QueueConfig* config = facts.project.empty() ? queue_config(facts.queue) : nullptr;
    if (config != nullptr) projects[config->id] = config->project;
  }
  if (!projects.empty()) emit(now, std::move(event));
}

// The state counts what users used lately by itself, so that a replay counts the same.
void Scheduler::record_half_lives(Now now) {
  std::map<std::string, int64_t> half_lives;
  for (const QueueConfig& queue : options_.queues) {
    if (queue.half_life_ms > 0) half_lives[queue.id] = queue.half_life_ms;
  }
  if (half_lives == state_.usage().half_lives_ms()) return;
  v1::JournalEvent event;
  v1::HalfLivesSet& set = *event.mutable_half_lives_set();
  for (const auto& [queue, half_life] : half_lives) {
    v1::HalfLife& one = *set.add_half_lives();
    one.set_queue(queue);
    one.set_half_life_ms(half_life);
  }
  emit(now, std::move(event));
}

void Scheduler::told(Now now, const v1::ReceiverState& receiver) {
  v1::JournalEvent event;
  *event.mutable_receiver_told()->mutable_receiver() = receiver;
  emit(now, std::move(event));
}

void Scheduler::forget_receiver(Now now, const std::string& name) {
  v1::JournalEvent event;
  event.mutable_receiver_told()->mutable_receiver()->set_name(name);
  event.mutable_receiver_told()->set_removed(true);
  emit(now, std::move(event));
}

void Scheduler::check_long_waits(Now now) {
  if (options_.long_wait_ms == 0 || now.mono_ms < next_waits_ms_) return;
  next_waits_ms_ = now.mono_ms + kWaitsPauseMs;
  std::vector<const v1::JobState*> long_ones;
  for (const auto& [key, job] : state_.queue()) {
    if (!job->waits_long() && !job->record().held() &&
        age_clock_ms(now) - job->queued_time_ms() >= options_.long_wait_ms)
      long_ones.push_back(job);
    if (long_ones.size() >= kMostWaits) break;
  }
  for (const v1::JobState* job : long_ones) {
    v1::JournalEvent event;
    event.mutable_job_waits_long()->set_job_id(job->record().job_id());
    event.mutable_job_waits_long()->set_message(describe(*job, now).message());
    emit(now, std::move(event));
  }
}

void Scheduler::give_up_held(Now now, const v1::JobState& job, const std::string& reason) {
  v1::JournalEvent event;
  event.mutable_slots_held()->set_job_id(job.record().job_id());
  event.mutable_slots_held()->set_reason(reason);
  emit(now, std::move(event));
}

}  // namespace galleon::server

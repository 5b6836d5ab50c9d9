// The pass of the policy over the state: figures are gathered, decided upon, and turned into events.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

bool is_preemptible(const v1::Job& job) {
  return !job.scheduling().has_preemptible() || job.scheduling().preemptible();
}

size_t queue_index(const std::vector<QueueUse>& queues, const std::string& id) {
  const auto it =
      std::find_if(queues.begin(), queues.end(), [&id](const QueueUse& queue) { return queue.config.id == id; });
  return static_cast<size_t>(it - queues.begin());
}

}  // namespace

std::vector<WorkerSlots> Scheduler::slots() const {
  std::vector<WorkerSlots> fleet;
  for (const auto& [id, worker] : state_.workers()) {
    const auto it = fleet_.workers.find(id);
    if (worker.state() == v1::Worker::GONE || it == fleet_.workers.end() || it->second.leaving) continue;
    WorkerSlots& entry = fleet.emplace_back();
    entry.worker_id = id;
    entry.labels.insert(worker.labels().begin(), worker.labels().end());
    const std::map<uint32_t, SlotUse>& leased = state_.leased_slots(id);
    const bool takes = takes_work(worker);
    for (uint32_t i = 0; i < it->second.devices.size(); ++i) {
      const v1::DeviceInfo& device = it->second.devices[i];
      entry.slots.push_back(
          {i, device.free_memory_bytes(), device.kind() == "cuda", device.healthy(), takes && !leased.contains(i)});
    }
  }
  return fleet;
}

std::vector<QueueUse> Scheduler::queues_in_use() const {
  std::vector<QueueUse> queues;
  for (const QueueConfig& config : options_.queues) queues.emplace_back().config = config;
  for (const auto& [key, count] : state_.counts()) {
    const bool live = count > 0 && !is_terminal(static_cast<v1::JobRecord::State>(key.second));
    if (!live || queue_index(queues, key.first) < queues.size()) continue;
    QueueUse& queue = queues.emplace_back();
    queue.config.id = key.first;
    queue.configured = false;
  }
  return queues;
}

const Demand& Scheduler::demand(const v1::JobState& job) const {
  const auto [it, added] = demands_.try_emplace(job.number());
  if (added) it->second = demand_of(job.record().job(), job.record().plan());
  return it->second;
}

// Does it wait for something else than slots: for its time to try again, or for a job before it?
bool Scheduler::waits_for_others(Now now, const v1::JobState& job, Wait& wait) const {
  // A clock that went back by more than the longest backoff holds nobody.
  if (now.wall_ms < job.not_before_ms() && now.wall_ms >= job.not_before_ms() - options_.longest_backoff_ms) {
    wait.kind = Wait::Kind::kBackoff;
    wait.until_ms = job.not_before_ms();
    return true;
  }
  for (const std::string& name : job.record().job().scheduling().after()) {
    const v1::JobState* before = state_.job(job_id_of(name));
    if (before == nullptr || before->record().state() == v1::JobRecord::SUCCEEDED) continue;
    wait.kind = Wait::Kind::kDependency;
    wait.name = before->record().name();
    return true;
  }
  return false;
}

RunningJob Scheduler::running_job(Now now, const v1::JobState& job, const std::vector<QueueUse>& queues) const {
  const v1::AttemptState& attempt = *live_attempt(job);
  const AttemptLive* known = live_or_null(job);
  const int64_t ran_ms = known == nullptr ? 0 : known->ran_ms(now.mono_ms);
  RunningJob running;
  running.number = job.number();
  running.job_id = job.record().job_id();
  running.queue = queue_index(queues, job.record().queue());
  running.priority = job.record().priority();
  running.preemptible = is_preemptible(job.record().job());
  running.spared = job.record().preemptions() > 0 && ran_ms < options_.preempted_run_ms;
  running.stopping = attempt.closed() || attempt.has_stop();
  running.start_ms = attempt.attempt().start_time_ms();
  if (const int64_t limit_ms = time_limit_ms(job.record().job()); limit_ms != kNever)
    running.ends_by_ms = now.wall_ms + std::max<int64_t>(0, limit_ms - job.ran_ms() - ran_ms) + 4 * options_.sync_ms;
  if (known != nullptr && known->ranks[0].report.progress().attempt_steps() > 0 && ran_ms > 0) {
    const v1::StepMetrics& progress = known->ranks[0].report.progress();
    const double step_ms = static_cast<double>(ran_ms) / static_cast<double>(progress.attempt_steps());
    const double left = static_cast<double>(progress.total_steps() - std::min(progress.step(), progress.total_steps()));
    running.expected_ms = now.wall_ms + static_cast<int64_t>(std::min(step_ms * left, 1e14));
  }
  for (const v1::RankState& rank : attempt.ranks()) {
    if (!rank.released()) running.places.push_back({rank.worker_id(), rank.slot()});
  }
  return running;
}

PassInput Scheduler::pass_input(Now now, std::vector<const v1::JobState*>& considered,
                                std::vector<std::pair<const v1::JobState*, Wait>>& deferred) const {
  PassInput input;
  input.now_ms = now.wall_ms;
  input.fleet = slots();
  input.queues = queues_in_use();
  for (const uint64_t number : state_.active()) {
    const v1::JobState& job = *state_.job_by_number(number);
    if (live_attempt(job) != nullptr) input.running.push_back(running_job(now, job, input.queues));
  }
  for (const auto& [key, job] : state_.queue()) {
    Wait wait;
    if (waits_for_others(now, *job, wait)) {
      deferred.emplace_back(job, std::move(wait));
      continue;
    }
    const v1::JobRecord& record = job->record();
    QueuedJob& queued = input.queued.emplace_back();
    queued.number = job->number();
    queued.job_id = &record.job_id();
    queued.queue = queue_index(input.queues, record.queue());
    queued.priority = record.priority();
    queued.preemptible = is_preemptible(record.job());
    queued.demand = &demand(*job);
    if (const int64_t limit_ms = time_limit_ms(record.job()); limit_ms != kNever)
      queued.limit_ms = std::max<int64_t>(0, limit_ms - job->ran_ms()) + 4 * options_.sync_ms;
    for (const v1::HeldSlot& slot : job->held()) queued.held.push_back({slot.worker_id(), slot.slot()});
    considered.push_back(job);
  }
  return input;
}

void Scheduler::place_queued(Now now) {
  next_retry_ms_ = 0;
  waits_.clear();
  if (state_.queue().empty()) {
    demands_.clear();
    return;
  }
  if (demands_.size() > 2 * state_.queue().size() + 1000) demands_.clear();
  std::vector<const v1::JobState*> considered;
  std::vector<std::pair<const v1::JobState*, Wait>> deferred;
  PassInput input = pass_input(now, considered, deferred);
  std::vector<std::string> running;
  for (const RunningJob& job : input.running) running.push_back(job.job_id);
  PassResult result = decide(std::move(input));
  dirty_ |= result.more;

  waits_.reserve(state_.queue().size());
  for (size_t i = 0; i < considered.size(); ++i) waits_[considered[i]->number()] = std::move(result.waits[i]);
  for (auto& [job, wait] : deferred) {
    if (wait.kind == Wait::Kind::kBackoff && (next_retry_ms_ == 0 || wait.until_ms < next_retry_ms_))
      next_retry_ms_ = wait.until_ms;
    waits_[job->number()] = std::move(wait);
  }
  for (const PassResult::Preemption& preemption : result.preemptions) {
    std::vector<std::string> victims;
    for (const size_t victim : preemption.victims) victims.push_back(running[victim]);
    preempt(now, *considered[preemption.queued], preemption, victims);
  }
  for (const PassResult::Start& start : result.starts) reserve(now, *considered[start.queued], start.places);

  std::map<std::string, uint32_t> positions;
  for (const auto& [key, job] : state_.queue()) waits_[job->number()].position = ++positions[job->record().queue()];
  for (const auto& [key, job] : state_.queue()) waits_[job->number()].queued = positions[job->record().queue()];
}

void Scheduler::reserve(Now now, const v1::JobState& job, const std::vector<Place>& places) {
  v1::JournalEvent event;
  v1::AttemptReserved& reserved = *event.mutable_attempt_reserved();
  reserved.mutable_id()->set_job_id(job.record().job_id());
  reserved.mutable_id()->set_attempt(static_cast<uint32_t>(job.attempts_size()) + 1);
  reserved.mutable_id()->set_epoch(state_.last_epoch() + 1);
  reserved.set_resume_step(job.record().checkpoint().step());
  reserved.set_resume_epoch(job.record().checkpoint().epoch());
  for (const Place& place : places) {
    v1::RankState& rank = *reserved.add_ranks();
    rank.set_worker_id(place.worker_id);
    rank.set_slot(place.slot);
  }
  waits_.erase(job.number());
  demands_.erase(job.number());
  emit(now, std::move(event));
  const v1::AttemptState& attempt = *live_attempt(job);
  live(now, job, attempt);
  touch(attempt);
}

void Scheduler::preempt(Now now, const v1::JobState& job, const PassResult::Preemption& preemption,
                        const std::vector<std::string>& victims) {
  v1::JournalEvent event;
  v1::SlotsHeld& held = *event.mutable_slots_held();
  held.set_job_id(job.record().job_id());
  for (const Place& place : preemption.places) {
    v1::HeldSlot& slot = *held.add_slots();
    slot.set_worker_id(place.worker_id);
    slot.set_slot(place.slot);
  }
  held.set_reason(absl::StrCat(absl::StrJoin(victims, ", "), victims.size() == 1 ? " makes room" : " make room"));
  emit(now, std::move(event));
  fleet_.holds[job.number()] = now.mono_ms;
  for (const std::string& id : victims) {
    const v1::JobState& victim = *state_.job(id);
    const std::string why =
        victim.record().queue() == job.record().queue()
            ? absl::StrCat("of priority ", job.record().priority())
            : absl::StrCat("of queue ", job.record().queue(), ", which takes back what it is guaranteed");
    hand_back(now, victim, v1::StopOrder::PREEMPTED, absl::StrCat("makes room for ", job.record().name(), " ", why),
              job.record().job_id());
  }
}

Scheduler::Forecast Scheduler::forecast(const v1::Job& job, const v1::MemoryPlan& plan, Now now) const {
  std::vector<const v1::JobState*> considered;
  std::vector<std::pair<const v1::JobState*, Wait>> deferred;
  PassInput input = pass_input(now, considered, deferred);
  const Demand demand = demand_of(job, plan);
  const std::string id = "this job";
  QueuedJob queued;
  queued.number = next_number();
  queued.job_id = &id;
  queued.queue = queue_index(input.queues, queue_of(job));
  queued.priority = job.scheduling().priority();
  queued.preemptible = is_preemptible(job);
  queued.demand = &demand;
  if (const int64_t limit_ms = time_limit_ms(job); limit_ms != kNever)
    queued.limit_ms = limit_ms + 4 * options_.sync_ms;
  // Behind all that go before it.
  size_t index = input.queued.size();
  while (index > 0 && input.queued[index - 1].priority < queued.priority) --index;
  input.queued.insert(input.queued.begin() + static_cast<int64_t>(index), queued);
  uint32_t ahead = 0;
  uint32_t in_queue = 1;
  for (const auto& [key, other] : state_.queue()) {
    if (other->record().queue() != queue_of(job)) continue;
    ++in_queue;
    ahead += key.priority >= queued.priority;
  }
  input.most_estimates = index + 1;
  Forecast forecast;
  for (const std::string& name : job.scheduling().after()) {
    const v1::JobState* before = state_.job(job_id_of(name));
    if (before == nullptr || before->record().state() == v1::JobRecord::SUCCEEDED) continue;
    forecast.message = absl::StrCat("would wait for ", before->record().name(), " to succeed");
    return forecast;
  }
  const PassResult result = decide(std::move(input));
  for (const PassResult::Start& start : result.starts) {
    if (start.queued != index) continue;
    forecast.message =
        absl::StrCat("would start at once: ", demand_text(demand), demand.ranks() == 1 ? " is free" : " are free");
    forecast.start_estimate_ms = now.wall_ms;
    return forecast;
  }
  Wait wait = result.waits[index];
  wait.position = ahead + 1;
  wait.queued = in_queue;
  forecast.start_estimate_ms = wait.estimate_ms;
  forecast.message = absl::StrCat("would wait: ", wait_message(demand, wait, now.wall_ms));
  return forecast;
}

}  // namespace galleon::server

// What people order: another priority or queue for a job, no more work for a worker.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/core/refusal.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr int kMostQueueUsers = 100;  // of a queue in one answer

}  // namespace

absl::Status Scheduler::reprioritize(Now now, const v1::ReprioritizeJobRequest& request, absl::string_view actor) {
  ASSIGN_OR_RETURN(const v1::JobState* found, changeable(job_id_of(request.name()), request.etag()));
  if (!request.has_priority() && request.queue().empty())
    return absl::InvalidArgumentError("priority: give a priority, a queue, or both");
  const v1::JobState& job = *found;
  const std::string queue = request.queue().empty() ? job.record().queue() : request.queue();
  const int32_t priority = request.has_priority() ? request.priority() : job.record().priority();
  const QueueConfig* config = queue_config(queue);
  if (config == nullptr) return unknown_queue("queue", queue);
  if (config->limit != 0 && demand(job).ranks() > config->limit) {
    return absl::InvalidArgumentError(absl::StrCat("queue: ", queue, " may use ", count_text(config->limit, "slot"),
                                                   " at most, ", job.record().name(), " needs ", demand(job).ranks()));
  }
  if (config->user_limit_slots != 0 && demand(job).ranks() > config->user_limit_slots) {
    return absl::InvalidArgumentError(absl::StrCat("queue: each user of ", queue, " may use ",
                                                   count_text(config->user_limit_slots, "slot"), " at most, ",
                                                   job.record().name(), " needs ", demand(job).ranks()));
  }
  if (queue == job.record().queue() && priority == job.record().priority()) return absl::OkStatus();
  if (queue != job.record().queue() && job.record().state() == v1::JobRecord::QUEUED)
    RETURN_IF_ERROR(check_quota(queue, job.record().owner()));
  const Acting acting(*this, actor);
  v1::JournalEvent event;
  event.mutable_job_reprioritized()->set_job_id(job.record().job_id());
  event.mutable_job_reprioritized()->set_priority(priority);
  event.mutable_job_reprioritized()->set_queue(queue);
  if (queue != job.record().queue()) event.mutable_job_reprioritized()->set_project(config->project);
  emit(now, std::move(event));
  return absl::OkStatus();
}

absl::StatusOr<const v1::Worker*> Scheduler::known_worker(absl::string_view worker_id, absl::string_view etag) const {
  const v1::Worker* worker = state_.worker(worker_id);
  if (worker == nullptr)
    return refusal(v1::ErrorInfo::WORKER_NOT_FOUND, absl::StrCat("there is no worker workers/", worker_id));
  const std::string revision = absl::StrCat(worker->revision());
  if (!etag.empty() && etag != revision) {
    return refusal(v1::ErrorInfo::ETAG_MISMATCH,
                   absl::StrCat("workers/", worker_id, " has changed since: its etag is ", revision, ", not ", etag));
  }
  return worker;
}

absl::Status Scheduler::order_worker(Now now, absl::string_view worker_id, v1::Worker::State ordered,
                                     absl::string_view reason, absl::string_view etag, absl::string_view actor) {
  ASSIGN_OR_RETURN(const v1::Worker* worker, known_worker(worker_id, etag));
  // What the scheduler ordered by itself becomes the person's own word.
  if (worker->ordered() == ordered && !worker->ordered_by_scheduler()) return absl::OkStatus();
  if (const auto live = fleet_.workers.find(std::string(worker_id)); live != fleet_.workers.end()) {
    live->second.faults.clear();
    live->second.probe_at_order = live->second.probe.number();
  }
  const Acting acting(*this, actor);
  v1::JournalEvent event;
  v1::WorkerOrdered& order = *event.mutable_worker_ordered();
  order.set_worker_id(std::string(worker_id));
  order.set_ordered(ordered);
  order.set_reason(std::string(reason));
  emit(now, std::move(event));
  if (ordered != v1::Worker::DRAINING) return absl::OkStatus();
  const std::map<uint32_t, SlotUse> leased = state_.leased_slots(worker_id);
  for (const auto& [slot, use] : leased) {
    const v1::JobState& job = *state_.job(use.job_id);
    const v1::Scheduling& scheduling = job.record().job().scheduling();
    if (scheduling.has_preemptible() && !scheduling.preemptible()) continue;
    hand_back(now, job, v1::StopOrder::DRAINED,
              absl::StrCat("worker ", worker_id, " is drained", reason.empty() ? "" : ": ", reason));
  }
  return absl::OkStatus();
}

void Scheduler::describe_users(Now now, const QueueConfig& config, v1::Queue& queue) const {
  queue.set_half_life_seconds(static_cast<uint64_t>(config.half_life_ms / 1000));
  queue.set_user_limit_slots(config.user_limit_slots);
  queue.set_user_limit_queued(config.user_limit_queued);
  for (const auto& [name, use] : state_.usage().users_of_queue(config.id)) {
    v1::QueueUser& user = *queue.add_users();
    user.set_user(name);
    user.set_queued(use.queued);
    user.set_slots_used(use.slots);
    user.set_recent_slots(state_.usage().recent_slots(config.id, name, now.wall_ms));
    if (config.half_life_ms > 0) user.set_weight(config.user_weight(name));
  }
  std::stable_sort(queue.mutable_users()->begin(), queue.mutable_users()->end(), [](const auto& a, const auto& b) {
    return a.slots_used() + a.recent_slots() > b.slots_used() + b.recent_slots();
  });
  while (queue.users_size() > kMostQueueUsers) queue.mutable_users()->RemoveLast();
}

std::vector<v1::Queue> Scheduler::describe_queues(Now now) const {
  std::vector<QueueUse> uses = queues_in_use();
  std::vector<v1::Queue> queues(uses.size());
  std::vector<double> wants(uses.size(), 0);
  const auto find = [&uses](const std::string& id) {
    return static_cast<size_t>(
        std::find_if(uses.begin(), uses.end(), [&id](const QueueUse& use) { return use.config.id == id; }) -
        uses.begin());
  };
  double total = 0;
  for (const auto& [id, worker] : state_.workers()) {
    if (takes_work(worker)) total += worker.slots();
  }
  for (const uint64_t number : state_.active()) {
    const v1::JobState& job = *state_.job_by_number(number);
    const v1::AttemptState* attempt = live_attempt(job);
    if (attempt == nullptr) continue;
    const size_t q = find(job.record().queue());
    queues[q].set_active(queues[q].active() + 1);
    for (const v1::RankState& rank : attempt->ranks()) uses[q].used += !rank.released();
    wants[q] += attempt->ranks_size();
  }
  for (const auto& [key, job] : state_.queue()) {
    const size_t q = find(job->record().queue());
    queues[q].set_queued(queues[q].queued() + 1);
    if (!job->record().held()) wants[q] += std::max<uint32_t>(1, job->record().job().parallel().ranks());
  }
  const std::vector<double> shares = fair_shares(uses, wants, total);
  for (size_t q = 0; q < uses.size(); ++q) {
    const QueueConfig& config = uses[q].config;
    queues[q].set_name(absl::StrCat("queues/", config.id));
    queues[q].set_queue_id(config.id);
    queues[q].set_weight(config.weight);
    queues[q].set_guaranteed_slots(config.guaranteed);
    queues[q].set_limit_slots(config.limit);
    queues[q].set_slots_used(uses[q].used);
    queues[q].set_fair_share_slots(uses[q].configured ? shares[q] : 0);
    queues[q].set_configured(uses[q].configured);
    if (uses[q].configured) queues[q].set_project(config.project);
    describe_users(now, config, queues[q]);
    const Retention kept = retention_of(config.id);
    queues[q].set_retention_seconds(static_cast<uint64_t>(*kept.age_ms / 1000));
    queues[q].set_retention_jobs(kept.jobs);
    queues[q].set_retention_folders(kept.folders == Retention::Folders::kDelete        ? v1::Queue::DELETE
                                    : kept.folders == Retention::Folders::kCheckpoints ? v1::Queue::CHECKPOINTS
                                                                                       : v1::Queue::KEEP);
  }
  for (const auto& [key, count] : state_.counts()) {
    const size_t q = find(key.first);
    if (q < queues.size() && is_terminal(static_cast<v1::JobRecord::State>(key.second)))
      queues[q].set_ended(queues[q].ended() + static_cast<uint64_t>(count));
  }
  return queues;
}

}  // namespace galleon::server

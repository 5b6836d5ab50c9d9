// The pass of the policy over the state: figures are gathered, decided upon, and turned into events.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/dependency.h"
#include "server/core/pass_users.h"
#include "server/core/quota.h"
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

const SlotBoard& Scheduler::board() const {
  struct Member {
    const v1::Worker* worker;
    const WorkerLive* live;
  };
  std::vector<Member> members;
  members.reserve(fleet_.workers.size());
  auto live = fleet_.workers.begin();
  for (const auto& [id, worker] : state_.workers()) {
    while (live != fleet_.workers.end() && live->first < id) ++live;
    if (live == fleet_.workers.end()) break;
    if (worker.state() == v1::Worker::GONE || live->first != id || live->second.leaving) continue;
    members.push_back({&worker, &live->second});
  }
  const auto describes = [](const WorkerSlots& slots, const Member& member) {
    const std::vector<v1::DeviceInfo>& devices = member.live->devices;
    if (slots.worker_id != member.worker->worker_id() || slots.slots.size() != devices.size()) return false;
    for (size_t i = 0; i < devices.size(); ++i) {
      const Slot& slot = slots.slots[i];
      if (slot.free_bytes != devices[i].free_memory_bytes() || slot.healthy != devices[i].healthy() ||
          slot.cuda != (devices[i].kind() == "cuda"))
        return false;
    }
    return true;
  };
  if (!board_ ||
      !std::equal(board_->workers().begin(), board_->workers().end(), members.begin(), members.end(), describes)) {
    std::vector<WorkerSlots> fleet;
    fleet.reserve(members.size());
    for (const Member& member : members) {
      WorkerSlots& entry = fleet.emplace_back();
      entry.worker_id = member.worker->worker_id();
      entry.labels.insert(member.worker->labels().begin(), member.worker->labels().end());
      for (const v1::DeviceInfo& device : member.live->devices) {
        entry.slots.push_back({static_cast<uint32_t>(entry.slots.size()), device.free_memory_bytes(),
                               device.kind() == "cuda", device.healthy(), false});
      }
    }
    board_.emplace(std::move(fleet));
  }
  for (size_t w = 0; w < members.size(); ++w) {
    const std::map<uint32_t, SlotUse>& leased = state_.leased_slots(members[w].worker->worker_id());
    const bool takes = takes_work(*members[w].worker);
    const bool open = members[w].worker->state() == v1::Worker::READY;
    for (uint32_t i = 0; i < members[w].live->devices.size(); ++i)
      board_->set_free(board_->first_cell(w) + i, takes && !leased.contains(i), open);
  }
  return *board_;
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

Scheduler::Waiting& Scheduler::waiting(const v1::JobState& job) const {
  const auto [it, added] = waiting_.try_emplace(job.number());
  if (added) it->second.demand = demand_of(job.record().job(), job.record().plan());
  return it->second;
}

const Demand& Scheduler::demand(const v1::JobState& job) const {
  return waiting(job).demand;
}

// Does it wait for something else than slots: for its time to try again, or for a job before it?
bool Scheduler::waits_for_others(Now now, const v1::JobState& job, const Waiting& known, Wait& wait) const {
  if (job.record().held()) {
    wait.kind = Wait::Kind::kHeld;
    wait.name = job.record().hold_reason();
    return true;
  }
  // A clock that went back by more than the longest backoff holds nobody, and by less nobody for whom slots are held:
  // its time had come.
  if (job.held().empty() && now.wall_ms < known.not_before_ms &&
      now.wall_ms >= known.not_before_ms - options_.most_backoff_ms()) {
    wait.kind = Wait::Kind::kBackoff;
    wait.until_ms = known.not_before_ms;
    return true;
  }
  if (lets_others_reach(job, wait)) return true;
  if (!known.dependent) return false;
  for (const std::string& entry : job.record().job().scheduling().after()) {
    const Dependency dependency = dependency_of(entry);
    if (dependency.judge(state_.job_state(dependency.job_id)) == Dependency::Verdict::kMet) continue;
    wait.kind = Wait::Kind::kDependency;
    wait.name = absl::StrCat("jobs/", dependency.job_id, " ", dependency.text());
    return true;
  }
  return false;
}

RunningJob Scheduler::running_job(Now now, const v1::JobState& job, const std::vector<QueueUse>& queues,
                                  const SlotBoard& board, PassUsers& users) const {
  const v1::AttemptState& attempt = *live_attempt(job);
  const AttemptLive* known = live_or_null(job);
  const int64_t ran_ms = known == nullptr ? 0 : known->ran_ms(now.mono_ms);
  RunningJob running;
  running.number = job.number();
  running.job_id = &job.record().job_id();
  running.queue = queue_index(queues, job.record().queue());
  running.user = users.of(queues[running.queue], running.queue, job.record().owner());
  running.priority = job.record().priority();
  running.preemptible = is_preemptible(job.record().job());
  if (job.record().preemptions() > 0) {
    // Only what this process saw counts: the calendar may have jumped before its start.
    const int64_t seen_ms = known == nullptr ? 0 : known->seen_ms(now.mono_ms);
    running.spared_ms = std::max<int64_t>(0, options_.preempted_run_ms - seen_ms);
    running.spared_from_guarantees_ms =
        std::max<int64_t>(0, std::min(options_.borrower_run_ms, options_.preempted_run_ms) - seen_ms);
  }
  running.stopping = attempt.closed() || attempt.has_stop();
  running.start_ms = attempt.attempt().start_time_ms();
  if (const int64_t limit_ms = time_limit_ms(job.record().job()); limit_ms != kNever)
    running.ends_by_ms =
        now.wall_ms + std::max<int64_t>(0, limit_ms - job.ran_ms() - ran_ms) + options_.missed_syncs_ms();
  if (known != nullptr && known->ranks[0].report.progress().attempt_steps() > 0 && ran_ms > 0) {
    const v1::StepMetrics& progress = known->ranks[0].report.progress();
    // By what it trains in a second, where that is known: the first steps of an attempt bear what its start took.
    const double step_tokens =
        static_cast<double>(progress.tokens()) / static_cast<double>(std::max<uint64_t>(1, progress.step()));
    const double step_ms = progress.tokens_per_second() > 0 && step_tokens > 0
                               ? 1000 * step_tokens / progress.tokens_per_second()
                               : static_cast<double>(ran_ms) / static_cast<double>(progress.attempt_steps());
    const double left = static_cast<double>(progress.total_steps() - std::min(progress.step(), progress.total_steps()));
    running.expected_ms = now.wall_ms + static_cast<int64_t>(std::min(step_ms * left, 1e14));
  }
  for (const v1::RankState& rank : attempt.ranks()) {
    if (rank.released()) continue;
    ++running.slots;
    if (const int64_t cell = board.find(rank.worker_id(), rank.slot()); cell >= 0)
      running.cells.push_back(static_cast<uint32_t>(cell));
  }
  return running;
}

std::optional<size_t> Scheduler::group_use(const v1::JobState& job, GroupIndices& known, PassInput& input) const {
  const auto [it, added] = known.emplace(job.record().group(), std::nullopt);
  const v1::Group& group = state_.group(job.record().group())->group();
  if (!added || group.max_running() == 0) return it->second;
  GroupUse use{&group.group_id(), 0, group.max_running()};
  for (const uint64_t number : state_.members(group.group_id())) {
    const v1::JobState& member = *state_.job_by_number(number);
    use.running += is_active(member.record().state()) || member.held_size() > 0;
  }
  it->second = input.groups.size();
  input.groups.push_back(use);
  return it->second;
}

PassInput Scheduler::pass_input(Now now, std::vector<Considered>& considered, std::vector<Wait>& deferred) const {
  PassInput input;
  input.now_ms = now.wall_ms;
  board();
  input.queues = queues_in_use();
  PassUsers users(state_.usage(), now.wall_ms, input.users);
  FolderQuotas quotas(options_.projects, state_.usage());
  input.running.reserve(state_.active().size());
  for (const uint64_t number : state_.active()) {
    const v1::JobState& job = *state_.job_by_number(number);
    if (live_attempt(job) != nullptr) input.running.push_back(running_job(now, job, input.queues, *board_, users));
  }
  GroupIndices groups;
  considered.reserve(state_.queue().size());
  input.queued.reserve(state_.queue().size());
  for (const auto& [key, job] : state_.queue()) {
    Waiting& known = waiting(*job);
    if (!known.known) {
      const v1::JobRecord& record = job->record();
      known.dependent = !record.job().scheduling().after().empty();
      known.holding = job->held_size() > 0;
      known.preemptible = is_preemptible(record.job());
      known.queue = queue_index(input.queues, record.queue());
      known.configured = known.queue < options_.queues.size();
      known.limit_ms = kNever;
      if (const int64_t limit_ms = time_limit_ms(record.job()); limit_ms != kNever)
        known.limit_ms = std::max<int64_t>(0, limit_ms - job->ran_ms()) + options_.missed_syncs_ms();
      known.not_before_ms = job->not_before_ms();
      known.avoided.clear();
      for (const v1::RankState* rank : failed_places(*job)) known.avoided.push_back(rank->worker_id());
      known.job_id = &record.job_id();
      known.known = true;
    }
    // Queues that are not configured come and go with their jobs.
    const size_t queue = known.configured ? known.queue : queue_index(input.queues, job->record().queue());
    considered.push_back({job, &known, queue, false, input.queued.size()});
    Wait wait;
    if (waits_for_others(now, *job, known, wait) || quotas.keep_waiting(job->record(), wait)) {
      considered.back().deferred = true;
      considered.back().index = deferred.size();
      deferred.push_back(std::move(wait));
      continue;
    }
    QueuedJob& queued = input.queued.emplace_back();
    queued.number = key.number;
    queued.job_id = known.job_id;
    queued.queue = queue;
    queued.priority = key.priority;
    queued.user = users.of(input.queues[queue], queue, job->record().owner());
    queued.preemptible = known.preemptible;
    queued.demand = &known.demand;
    queued.limit_ms = known.limit_ms;
    queued.waits_for_room = known.holding;
    for (const std::string& worker : known.avoided) {
      if (const int64_t cell = board_->find(worker, 0); cell >= 0) {
        const uint32_t number = board_->cells()[static_cast<size_t>(cell)].worker;
        if (std::find(queued.avoided.begin(), queued.avoided.end(), number) == queued.avoided.end())
          queued.avoided.push_back(number);
      }
    }
    if (!job->record().group().empty()) queued.group = group_use(*job, groups, input);
    queued.patient = awaited_rung(*job) > 0;
    queued.overdue = known.head_since_ms >= 0 && now.mono_ms - known.head_since_ms >= options_.overdue_ms;
    if (known.holding) {
      for (const v1::HeldSlot& slot : job->held()) {
        if (const int64_t cell = board_->find(slot.worker_id(), slot.slot()); cell >= 0)
          queued.held.push_back(static_cast<uint32_t>(cell));
      }
    }
    // Made in the board that stays, so that the next pass has it.
    board_->family(known.demand);
  }
  input.board = *board_;
  return input;
}

void Scheduler::place_queued(Now now) {
  next_retry_ms_ = next_spared_ms_ = 0;
  if (state_.queue().empty()) {
    waiting_.clear();
    pending_.clear();
    return;
  }
  if (waiting_.size() > 2 * state_.queue().size() + 1000) waiting_.clear();
  std::vector<Considered> considered;
  std::vector<Wait> deferred;
  PassInput input = pass_input(now, considered, deferred);
  std::vector<const std::string*> running;
  running.reserve(input.running.size());
  for (const RunningJob& job : input.running) running.push_back(job.job_id);
  const size_t queues = input.queues.size();
  PassResult result = decide(std::move(input));
  dirty_ |= result.more;

  std::vector<bool> starts(result.waits.size(), false);
  for (const PassResult::Start& start : result.starts) starts[start.queued] = true;
  std::vector<const v1::JobState*> jobs(result.waits.size());
  std::vector<uint32_t> positions(queues, 0);
  std::vector<uint32_t> turns(queues, 0);  // where users take turns: the last
  for (const Considered& one : considered) {
    Waiting& waiting = *one.waiting;
    if (!one.deferred) jobs[one.index] = one.job;
    if (!one.deferred && starts[one.index]) continue;
    waiting.wait = std::move(one.deferred ? deferred[one.index] : result.waits[one.index]);
    if (waiting.wait.kind == Wait::Kind::kBackoff && (next_retry_ms_ == 0 || waiting.wait.until_ms < next_retry_ms_)) {
      next_retry_ms_ = waiting.wait.until_ms;
    }
    if (const int64_t spared_ms = waiting.wait.spared_ms; spared_ms > 0) {
      const int64_t until_ms = now.mono_ms + spared_ms;
      next_spared_ms_ = next_spared_ms_ == 0 ? until_ms : std::min(next_spared_ms_, until_ms);
    }
    if (waiting.wait.kind == Wait::Kind::kNoQueue) waiting.wait.project = one.job->record().project();
    waiting.decided = true;
    waiting.wait.position = ++positions[one.queue];
    if (one.queue >= options_.queues.size() || options_.queues[one.queue].half_life_ms == 0) continue;
    waiting.wait.position = one.deferred ? 0 : result.turns[one.index];
    turns[one.queue] = std::max(turns[one.queue], waiting.wait.position);
  }
  for (const Considered& one : considered) {
    one.waiting->wait.queued = positions[one.queue];
    // Whose turn does not come while it waits for something else stands at the end.
    if (one.deferred && one.waiting->wait.position == 0) one.waiting->wait.position = ++turns[one.queue];
  }
  std::vector<const v1::JobState*> wanting;
  for (const Considered& one : considered) {
    if (!one.deferred && !starts[one.index] && would_start_on_more(one.waiting->wait.kind)) wanting.push_back(one.job);
  }
  for (const size_t head : result.heads) {
    int64_t& since_ms = waiting(*jobs[head]).head_since_ms;
    if (since_ms < 0) since_ms = now.mono_ms;
  }
  for (const PassResult::Preemption& preemption : result.preemptions) {
    std::vector<std::string> victims;
    for (const size_t victim : preemption.victims) victims.push_back(*running[victim]);
    preempt(now, *jobs[preemption.queued], preemption, victims);
  }
  for (const PassResult::Start& start : result.starts) reserve(now, *jobs[start.queued], start.places);
  // With what has just started counted in limits.
  count_pending(wanting);
}

void Scheduler::count_pending(const std::vector<const v1::JobState*>& wanting) {
  PendingTally tally(state_.usage(), state_);
  for (const v1::JobState* job : wanting) {
    const auto queue = std::find_if(options_.queues.begin(), options_.queues.end(),
                                    [&](const QueueConfig& config) { return config.id == job->record().queue(); });
    if (queue != options_.queues.end()) tally.add(job->record(), demand(*job), *queue);
  }
  pending_ = tally.take();
}

Scheduler::Forecast Scheduler::forecast(const v1::Job& job, const v1::MemoryPlan& plan, Now now,
                                        const std::string& owner) const {
  std::vector<Considered> considered;
  std::vector<Wait> deferred;
  PassInput input = pass_input(now, considered, deferred);
  const Demand demand = demand_of(job, plan);
  const std::string id = "this job";
  QueuedJob queued;
  queued.number = next_number();
  queued.job_id = &id;
  queued.queue = queue_index(input.queues, queue_of(job));
  queued.priority = job.scheduling().priority();
  PassUsers users(state_.usage(), now.wall_ms, input.users);
  queued.user = users.of(input.queues[queued.queue], queued.queue, owner);
  queued.preemptible = is_preemptible(job);
  queued.demand = &demand;
  if (const int64_t limit_ms = time_limit_ms(job); limit_ms != kNever)
    queued.limit_ms = limit_ms + options_.missed_syncs_ms();
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
  for (const std::string& entry : job.scheduling().after()) {
    const Dependency dependency = dependency_of(entry);
    if (dependency.judge(state_.job_state(dependency.job_id)) == Dependency::Verdict::kMet) continue;
    forecast.message = absl::StrCat("would wait for jobs/", dependency.job_id, " ", dependency.text());
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
  wait.position = result.turns[index] > 0 ? result.turns[index] : ahead + 1;
  wait.queued = in_queue;
  forecast.start_estimate_ms = wait.estimate_ms;
  forecast.message = absl::StrCat("would wait: ", wait_message(demand, wait, now.wall_ms));
  return forecast;
}

}  // namespace galleon::server

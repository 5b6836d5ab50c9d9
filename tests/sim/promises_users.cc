// What is promised of users who share a queue: nobody holds or queues more than a user may, and whose turn it is
// starts.
#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/core/scheduler.h"
#include "tests/sim/promises.h"

namespace galleon::server {

const QueueConfig* Promises::queue_of_job(const v1::JobRecord& record) const {
  const auto it = std::find_if(options_->queues.begin(), options_->queues.end(),
                               [&record](const QueueConfig& config) { return config.id == record.queue(); });
  return it == options_->queues.end() ? nullptr : &*it;
}

uint32_t Promises::held_by(const std::string& queue, const std::string& user, const State& state) const {
  return static_cast<uint32_t>(std::count_if(leases_.begin(), leases_.end(), [&](const auto& lease) {
    const v1::JobRecord& record = state.job(lease.second)->record();
    return record.queue() == queue && record.owner() == user;
  }));
}

void Promises::check_queued(const v1::JobCreated& created, const State& state) {
  const std::string queue = queue_of(created.job());
  const auto config = std::find_if(options_->queues.begin(), options_->queues.end(),
                                   [&queue](const QueueConfig& one) { return one.id == queue; });
  if (config == options_->queues.end() || config->user_limit_queued == 0) return;
  const auto waiting = std::count_if(state.queue().begin(), state.queue().end(), [&](const auto& entry) {
    return entry.second->record().queue() == queue && entry.second->record().owner() == created.owner();
  });
  require(waiting < config->user_limit_queued, "no user has more jobs waiting than it may");
}

// After the new leases were noted, before the event is applied.
void Promises::check_user(const v1::JobState& starting, const State& state, int64_t wall_ms, uint32_t ranks) {
  const v1::JobRecord& record = starting.record();
  const QueueConfig* config = queue_of_job(record);
  if (config == nullptr) return;
  if (config->user_limit_slots != 0)
    require(held_by(config->id, record.owner(), state) <= config->user_limit_slots, "no user holds more than it may");
  if (!exact_use_ || config->half_life_ms == 0) return;
  // Each slot counts by how much of what it held is remembered.
  double expected = 0;
  const double half_life = static_cast<double>(config->half_life_ms);
  const auto kept = [&](int64_t at_ms) { return std::exp2(-static_cast<double>(wall_ms - at_ms) / half_life); };
  for (const Held& held : held_) {
    if (held.queue != config->id || held.user != record.owner()) continue;
    expected += kept(held.to_ms < held.from_ms ? wall_ms : held.to_ms) - kept(held.from_ms);
  }
  const double counted = state.usage().recent_slots(config->id, record.owner(), wall_ms);
  // Less than a second of a slot may be forgotten.
  require(std::abs(expected - counted) < 1.5e3 / half_life, "what a user used lately is counted");
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    held_.push_back({absl::StrCat(record.job_id(), "/", record.attempts() + 1, "/", rank), config->id, record.owner(),
                     wall_ms, wall_ms - 1});
  }
}

// Those whose user would hold too much, and those that such a job of their user stands before.
std::set<const v1::JobState*> Promises::beyond_users(const State& state, const QueueConfig& queue) const {
  std::set<const v1::JobState*> beyond;
  if (queue.user_limit_slots == 0) return beyond;
  std::set<std::string> closed;
  for (const auto& [key, job] : state.queue()) {
    const v1::JobRecord& record = job->record();
    if (record.queue() != queue.id) continue;
    const uint32_t ranks = std::max<uint32_t>(1, record.job().parallel().ranks());
    const bool full = held_by(queue.id, record.owner(), state) + ranks > queue.user_limit_slots;
    if (full && ranks <= queue.user_limit_slots) closed.insert(record.owner());
    if (full || closed.contains(record.owner())) beyond.insert(job);
  }
  return beyond;
}

bool Promises::could_start(const v1::JobState& job, int64_t wall_ms, const QueueConfig& queue) const {
  const v1::JobRecord& record = job.record();
  const uint32_t ranks = std::max<uint32_t>(1, record.job().parallel().ranks());
  if (record.queue() != queue.id || record.held() || ranks > open_ || wall_ms < job.not_before_ms()) return false;
  // For these others make room, or some slots are not for them.
  if (job.held_size() > 0 || !failed_places(job).empty()) return false;
  if (!record.job().scheduling().after().empty()) return false;
  // Nor are others of a group that lets as many run as it may, or some go first.
  if (!record.group().empty()) return false;
  if (record.job().scheduling().has_preemptible() && !record.job().scheduling().preemptible()) return false;
  return true;
}

// All slots are alike here: whoever starts has the first turn of those that could have started.
void Promises::check_turn(const v1::JobState& starting, const State& state, int64_t wall_ms) {
  const v1::JobRecord& record = starting.record();
  const QueueConfig& queue = *queue_of_job(record);
  const uint32_t ranks = std::max<uint32_t>(1, record.job().parallel().ranks());
  // A job for which others make room has had its turn, whatever starts meanwhile.
  const bool held = std::any_of(state.holding().begin(), state.holding().end(), [&](uint64_t number) {
    return state.job_by_number(number)->record().queue() == queue.id;
  });
  if (held || clock_jumps_) return;
  // One that cannot use some places keeps only the others, where these are slots that not everybody can use.
  const bool picky = std::any_of(state.queue().begin(), state.queue().end(), [&](const auto& entry) {
    return entry.second->record().queue() == queue.id && !failed_places(*entry.second).empty();
  });
  if (picky) return;
  // Who has waited at the head for long comes first.
  if (wall_ms - starting.queued_time_ms() >= options_->overdue_ms) return;
  // Its own new slots are noted already.
  const auto load = [&](const std::string& user, uint32_t without) {
    return (held_by(queue.id, user, state) - without + state.usage().recent_slots(queue.id, user, wall_ms)) /
           queue.user_weight(user);
  };
  const double own = load(record.owner(), ranks);
  const std::set<const v1::JobState*> beyond = beyond_users(state, queue);
  for (const auto& [key, other] : state.queue()) {
    if (other == &starting || beyond.contains(other) || !could_start(*other, wall_ms, queue)) continue;
    // The first of this user with that priority may be one that waits for something else.
    if (key.priority < record.priority()) return;
    const std::string& user = other->record().owner();
    const std::string what = absl::StrCat(": ", other->record().job_id(), " of ", user, " is overtaken by ",
                                          record.job_id(), " of ", record.owner());
    require(key.priority == record.priority(), absl::StrCat("priority comes before turns", what));
    require(user == record.owner() ? key.number > starting.number() : own <= load(user, 0) + 1e-6,
            absl::StrCat("whose turn it is starts first", what));
  }
}

}  // namespace galleon::server

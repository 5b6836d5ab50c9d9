#include "server/core/usage.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace galleon::server {

namespace {

// A second of one slot: who used less is forgotten, so that the list of users does not grow for ever.
constexpr double kNothing = 1'000;

}  // namespace

int64_t Usage::half_life_ms(const std::string& queue) const {
  const auto it = half_lives_ms_.find(queue);
  return it == half_lives_ms_.end() ? 0 : it->second;
}

// The integral of slots(s) · 2^(-(t - s) / h) over all s up to t, from its value at an earlier time and the slots held
// since. A clock that went back has nothing decay.
double Usage::past_at(const UserInQueue& use, int64_t half_life_ms, int64_t time_ms) {
  if (half_life_ms <= 0) return 0;
  const double half_life = static_cast<double>(half_life_ms);
  const double kept = std::exp2(-static_cast<double>(std::max<int64_t>(0, time_ms - use.time_ms)) / half_life);
  return use.past * kept + static_cast<double>(use.slots) * half_life / std::numbers::ln2 * (1 - kept);
}

void Usage::count(const v1::JobRecord& record, int by) {
  const bool queued = record.state() == v1::JobRecord::QUEUED;
  if (queued) {
    QueueUsers& users = queues_[record.queue()];
    UserInQueue& use = users[record.owner()];
    use.queued += by;
    if (use.queued == 0 && use.slots == 0 && use.past == 0) users.erase(record.owner());
    if (users.empty()) queues_.erase(record.queue());
  }
  if (!queued && record.folder_bytes() == 0) return;
  ProjectUsers& users = projects_[record.project()];
  UserInProject& use = users[record.owner()];
  if (queued) use.queued += by;
  use.folder_bytes += static_cast<uint64_t>(by) * record.folder_bytes();
  if (use.queued == 0 && use.folder_bytes == 0) users.erase(record.owner());
  if (users.empty()) projects_.erase(record.project());
}

void Usage::change_slots(const std::string& queue, const std::string& user, int64_t by, int64_t time_ms) {
  UserInQueue& use = queues_[queue][user];
  use.past = past_at(use, half_life_ms(queue), time_ms);
  use.time_ms = time_ms;
  use.slots = static_cast<uint32_t>(static_cast<int64_t>(use.slots) + by);
  forget_idle(queue, time_ms);
}

void Usage::restore_slots(const std::string& queue, const std::string& user, uint32_t slots) {
  queues_[queue][user].slots += slots;
}

void Usage::forget_idle(const std::string& queue, int64_t time_ms) {
  QueueUsers& users = queues_[queue];
  const int64_t half_life = half_life_ms(queue);
  std::erase_if(users, [&](const auto& entry) {
    const UserInQueue& use = entry.second;
    return use.queued == 0 && use.slots == 0 && past_at(use, half_life, time_ms) < kNothing;
  });
  if (users.empty()) queues_.erase(queue);
}

void Usage::set_half_lives(std::map<std::string, int64_t> half_lives_ms, int64_t time_ms) {
  std::map<std::string, QueueUsers> before = queues_;
  for (auto& [queue, users] : before) {
    for (auto& [user, use] : users) {
      UserInQueue& now = queues_[queue][user];
      // As many slots on average as before: another half-life changes how fast it is forgotten, not how much it was.
      const int64_t old = half_life_ms(queue);
      const auto it = half_lives_ms.find(queue);
      const int64_t next = it == half_lives_ms.end() ? 0 : it->second;
      now.past = old > 0 ? past_at(use, old, time_ms) * static_cast<double>(next) / static_cast<double>(old) : 0;
      now.time_ms = time_ms;
    }
  }
  half_lives_ms_ = std::move(half_lives_ms);
  for (const auto& [queue, users] : before) forget_idle(queue, time_ms);
}

double Usage::recent_slots(const std::string& queue, const std::string& user, int64_t time_ms) const {
  const int64_t half_life = half_life_ms(queue);
  if (half_life <= 0) return 0;
  return past_at(in_queue(queue, user), half_life, time_ms) * std::numbers::ln2 / static_cast<double>(half_life);
}

const Usage::QueueUsers& Usage::users_of_queue(const std::string& queue) const {
  static const QueueUsers kNobody;
  const auto it = queues_.find(queue);
  return it == queues_.end() ? kNobody : it->second;
}

UserInQueue Usage::in_queue(const std::string& queue, const std::string& user) const {
  const QueueUsers& users = users_of_queue(queue);
  const auto it = users.find(user);
  return it == users.end() ? UserInQueue() : it->second;
}

UserInProject Usage::in_project(const std::string& project, const std::string& user) const {
  const auto users = projects_.find(project);
  if (users == projects_.end()) return {};
  const auto it = users->second.find(user);
  return it == users->second.end() ? UserInProject() : it->second;
}

UserInProject Usage::in_project(const std::string& project) const {
  UserInProject all;
  const auto users = projects_.find(project);
  if (users == projects_.end()) return all;
  for (const auto& [user, use] : users->second) {
    all.queued += use.queued;
    all.folder_bytes += use.folder_bytes;
  }
  return all;
}

void Usage::save(v1::StateSnapshot& snapshot) const {
  for (const auto& [queue, half_life] : half_lives_ms_) {
    v1::HalfLife& saved = *snapshot.add_half_lives();
    saved.set_queue(queue);
    saved.set_half_life_ms(half_life);
  }
  for (const auto& [queue, users] : queues_) {
    for (const auto& [user, use] : users) {
      // The time of the last change says from when on the slots of now count.
      if (half_life_ms(queue) == 0 || (use.past == 0 && use.slots == 0)) continue;
      v1::OwnerUse& saved = *snapshot.add_owner_uses();
      saved.set_queue(queue);
      saved.set_owner(user);
      saved.set_past(use.past);
      saved.set_time_ms(use.time_ms);
    }
  }
}

void Usage::restore(const v1::StateSnapshot& snapshot) {
  for (const v1::HalfLife& saved : snapshot.half_lives()) half_lives_ms_[saved.queue()] = saved.half_life_ms();
  for (const v1::OwnerUse& saved : snapshot.owner_uses()) {
    UserInQueue& use = queues_[saved.queue()][saved.owner()];
    use.past = saved.past();
    use.time_ms = saved.time_ms();
  }
}

}  // namespace galleon::server

#include "server/core/pending.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

const char* device_word(int device) {
  switch (device) {
    case v1::Resources::DEVICE_CPU:
      return "cpu";
    case v1::Resources::DEVICE_CUDA:
      return "cuda";
    default:
      return "auto";
  }
}

}  // namespace

bool would_start_on_more(Wait::Kind kind) {
  switch (kind) {
    case Wait::Kind::kNoWorkers:
    case Wait::Kind::kNeverFits:
    case Wait::Kind::kClosed:
    case Wait::Kind::kSlots:
    case Wait::Kind::kAhead:
    case Wait::Kind::kGuaranteed:
    case Wait::Kind::kFixed:
    case Wait::Kind::kMakingRoom:
      return true;
    default:
      return false;
  }
}

template <typename Left>
uint64_t& PendingTally::left(const std::string& limit, const Left& find) {
  const auto [it, added] = left_.try_emplace(limit, 0);
  if (added) it->second = find();
  return it->second;
}

void PendingTally::add(const v1::JobRecord& record, const Demand& demand, const QueueConfig& queue) {
  const auto beyond = [](uint64_t most, uint64_t used) { return most - std::min(most, used); };
  std::vector<std::pair<uint64_t*, uint64_t>> limits;
  if (queue.limit > 0) {
    uint64_t& slots = left(absl::StrCat("queue ", queue.id), [&] {
      uint64_t used = 0;
      for (const auto& [user, use] : usage_.users_of_queue(queue.id)) used += use.slots;
      return beyond(queue.limit, used);
    });
    limits.emplace_back(&slots, demand.ranks());
  }
  if (queue.user_limit_slots > 0) {
    uint64_t& slots = left(absl::StrCat("user ", queue.id, "/", record.owner()), [&] {
      return beyond(queue.user_limit_slots, usage_.in_queue(queue.id, record.owner()).slots);
    });
    limits.emplace_back(&slots, demand.ranks());
  }
  if (const v1::GroupState* group = record.group().empty() ? nullptr : state_.group(record.group());
      group != nullptr && group->group().max_running() > 0) {
    uint64_t& jobs = left(absl::StrCat("group ", record.group()), [&] {
      uint64_t running = 0;
      for (const uint64_t number : state_.members(record.group()))
        running += is_active(state_.job_by_number(number)->record().state());
      return beyond(group->group().max_running(), running);
    });
    limits.emplace_back(&jobs, 1);
  }
  for (const auto& [rest, wanted] : limits)
    if (*rest < wanted) return;
  for (const auto& [rest, wanted] : limits) *rest -= wanted;
  slots_[&demand.labels][{queue.id, demand.device}] += demand.ranks();
}

std::vector<PendingSlots> PendingTally::take(size_t most) const {
  std::map<std::tuple<std::string, std::string, std::string>, uint64_t> found;
  size_t sets = 0;
  for (const auto& [labels, entries] : slots_) {
    const std::string text = ++sets > most ? "other" : absl::StrJoin(*labels, ",", absl::PairFormatter("="));
    for (const auto& [key, slots] : entries) found[{key.first, device_word(key.second), text}] += slots;
  }
  std::vector<PendingSlots> all;
  all.reserve(found.size());
  for (const auto& [key, slots] : found) all.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), slots});
  return all;
}

}  // namespace galleon::server

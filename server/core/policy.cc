#include "server/core/policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace galleon::server {

namespace {

bool matches(const Demand& demand, const WorkerSlots& worker, const Slot& slot) {
  if (!slot.healthy) return false;
  if (demand.device == v1::Resources::DEVICE_CPU && slot.cuda) return false;
  if (demand.device == v1::Resources::DEVICE_CUDA && !slot.cuda) return false;
  for (const auto& [key, value] : demand.labels) {
    const auto it = worker.labels.find(key);
    if (it == worker.labels.end() || it->second != value) return false;
  }
  return true;
}

std::string slots_text(uint32_t count) {
  return absl::StrCat(count, count == 1 ? " slot" : " slots");
}
std::string workers_text(uint32_t count) {
  return absl::StrCat(count, count == 1 ? " worker" : " workers");
}

// "2 slots of 412 MiB (cuda) with label zone=a".
std::string demand_text(const Demand& demand) {
  std::string text = absl::StrCat(slots_text(demand.ranks), " of ", bytes_text(demand.bytes_per_rank));
  if (demand.device == v1::Resources::DEVICE_CPU) absl::StrAppend(&text, " on cpu");
  if (demand.device == v1::Resources::DEVICE_CUDA) absl::StrAppend(&text, " on cuda");
  if (!demand.labels.empty())
    absl::StrAppend(&text, " with labels ", absl::StrJoin(demand.labels, ", ", absl::PairFormatter("=")));
  return text;
}

}  // namespace

std::string bytes_text(uint64_t bytes) {
  constexpr uint64_t kMiB = 1 << 20;
  if (bytes >= 10 * 1024 * kMiB) return absl::StrFormat("%.0f GiB", static_cast<double>(bytes) / (1024.0 * kMiB));
  if (bytes >= 1024 * kMiB) return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / (1024.0 * kMiB));
  return absl::StrCat((bytes + kMiB - 1) / kMiB, " MiB");
}

Demand demand_of(const v1::Job& job, const v1::MemoryPlan& plan) {
  Demand demand;
  demand.ranks = std::max<uint32_t>(1, job.parallel().has_ranks() ? job.parallel().ranks() : 1);
  for (const v1::RankPlan& rank : plan.ranks())
    demand.bytes_per_rank = std::max(demand.bytes_per_rank, rank.peak_bytes());
  demand.bytes_per_rank += plan.process_base_bytes();
  if (job.resources().has_device()) demand.device = job.resources().device();
  for (const auto& [key, value] : job.scheduling().labels()) demand.labels[key] = value;
  return demand;
}

std::string wait_message(const Demand& demand, const Wait& wait, int64_t now_ms) {
  const std::string position = absl::StrCat("position ", wait.position, " of ", wait.queued, "; ");
  switch (wait.kind) {
    case Wait::Kind::kNoWorkers:
      return absl::StrCat(position, "needs ", demand_text(demand), ", no worker is registered");
    case Wait::Kind::kNeverFits: {
      std::string offer = "no slot of that kind";
      if (wait.largest_bytes > 0) {
        offer =
            absl::StrCat(slots_text(wait.fitting), " of that size, the largest of ", bytes_text(wait.largest_bytes));
      }
      return absl::StrCat(position, "can never fit the fleet as it is: needs ", demand_text(demand), "; ",
                          workers_text(wait.workers), ", even all idle, ", wait.workers == 1 ? "has " : "have ", offer);
    }
    case Wait::Kind::kSlots:
      return absl::StrCat(position, "needs ", demand_text(demand), ", ", wait.free, " free on ",
                          workers_text(wait.workers));
    case Wait::Kind::kAhead:
      return absl::StrCat(position, "needs ", demand_text(demand), ", ", wait.free, " free on ",
                          workers_text(wait.workers), " but kept for a job ahead of it");
    case Wait::Kind::kBackoff:
      return absl::StrCat(position, "tries again in ", std::max<int64_t>(0, wait.until_ms - now_ms + 999) / 1000, " s");
    case Wait::Kind::kDependency:
      return absl::StrCat(position, "waits for ", wait.job_id, " to succeed");
  }
  return position;
}

Placement::Placement(std::vector<WorkerSlots> fleet) {
  for (WorkerSlots& worker : fleet) {
    const size_t slots = worker.slots.size();
    fleet_.push_back({std::move(worker), std::vector<bool>(slots, false)});
  }
}

std::vector<Place> Placement::offer(const Demand& demand, Wait& wait) {
  struct Candidate {
    Entry* entry;
    std::vector<size_t> slots;  // free, not kept, large enough
  };
  std::vector<Candidate> candidates;
  size_t usable = 0;
  wait.workers = static_cast<uint32_t>(fleet_.size());
  for (Entry& entry : fleet_) {
    Candidate candidate{&entry, {}};
    for (size_t i = 0; i < entry.worker.slots.size(); ++i) {
      const Slot& slot = entry.worker.slots[i];
      if (!matches(demand, entry.worker, slot)) continue;
      wait.largest_bytes = std::max(wait.largest_bytes, slot.free_bytes);
      if (slot.free_bytes < demand.bytes_per_rank) continue;
      ++wait.fitting;
      if (!slot.free) continue;
      ++wait.free;
      if (!entry.kept[i]) candidate.slots.push_back(i);
    }
    usable += candidate.slots.size();
    if (!candidate.slots.empty()) candidates.push_back(std::move(candidate));
  }
  if (usable < demand.ranks) {
    wait.kind = fleet_.empty()                ? Wait::Kind::kNoWorkers
                : wait.fitting < demand.ranks ? Wait::Kind::kNeverFits
                : wait.free < demand.ranks    ? Wait::Kind::kSlots
                                              : Wait::Kind::kAhead;
    if (wait.fitting < demand.ranks) return {};
    for (Entry& entry : fleet_) {
      for (size_t i = 0; i < entry.worker.slots.size(); ++i) {
        const Slot& slot = entry.worker.slots[i];
        if (matches(demand, entry.worker, slot) && slot.free_bytes >= demand.bytes_per_rank) entry.kept[i] = true;
      }
    }
    return {};
  }
  // One worker for all ranks if any can: the one with the least room to spare. Else the fewest workers: the largest
  // first.
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.slots.size() > b.slots.size(); });
  size_t first = 0;
  for (size_t i = 0; i < candidates.size() && candidates[i].slots.size() >= demand.ranks; ++i) {
    if (candidates[i].slots.size() < candidates[first].slots.size()) first = i;
  }
  std::vector<Place> places;
  for (size_t i = first; i < candidates.size() && places.size() < demand.ranks; ++i) {
    for (const size_t slot : candidates[i].slots) {
      if (places.size() == demand.ranks) break;
      Entry& entry = *candidates[i].entry;
      places.push_back({entry.worker.worker_id, entry.worker.slots[slot].index});
      entry.worker.slots[slot].free = false;
    }
  }
  return places;
}

}  // namespace galleon::server

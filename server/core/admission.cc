// What is refused at submit because no wait would ever end, and what would fit instead.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/core/refusal.h"
#include "server/core/scheduler.h"

namespace galleon::server {

absl::StatusOr<Scheduler::Forecast> Scheduler::validate(const v1::Job& job, const v1::MemoryPlan& plan, Now now,
                                                        bool allow_pending, const std::string& owner) const {
  RETURN_IF_ERROR(check_scheduling(job));
  RETURN_IF_ERROR(check_fits(job, plan, allow_pending));
  RETURN_IF_ERROR(check_quota(queue_of(job), owner));
  return forecast(job, plan, now, owner);
}

absl::Status Scheduler::check_fits(const v1::Job& job, const v1::MemoryPlan& plan, bool allow_pending) const {
  const Demand demand = demand_of(job, plan);
  const QueueConfig* queue = queue_config(queue_of(job));
  if (queue != nullptr && queue->limit != 0 && demand.ranks() > queue->limit) {
    return refusal(v1::ErrorInfo::NEVER_FITS,
                   absl::StrCat("needs ", count_text(demand.ranks(), "slot"), ", but queue ", queue->id, " may use ",
                                queue->limit, " at most; give it fewer parallel.ranks, or another queue"));
  }
  if (queue != nullptr && queue->user_limit_slots != 0 && demand.ranks() > queue->user_limit_slots) {
    return refusal(
        v1::ErrorInfo::NEVER_FITS,
        absl::StrCat("needs ", count_text(demand.ranks(), "slot"), ", but each user of queue ", queue->id, " may use ",
                     queue->user_limit_slots, " at most; give it fewer parallel.ranks, or another queue"));
  }
  if (allow_pending) return absl::OkStatus();
  // Workers that are gone may come back; once they have left the list, they do not count.
  if (!whole_fleet_) {
    std::vector<WorkerSlots> fleet;
    for (const auto& [id, worker] : state_.workers()) {
      WorkerSlots& entry = fleet.emplace_back();
      entry.worker_id = id;
      entry.labels.insert(worker.labels().begin(), worker.labels().end());
      for (int i = 0; i < worker.devices_size(); ++i) {
        const v1::DeviceInfo& device = worker.devices(i);
        const uint64_t bytes = std::max(device.free_memory_bytes(), device.memory_bytes());
        entry.slots.push_back({static_cast<uint32_t>(i), bytes, device.kind() == "cuda", true, true});
      }
    }
    whole_fleet_.emplace(std::move(fleet));
  }
  if (whole_fleet_->workers().empty()) return absl::OkStatus();
  const SlotBoard::Family& slots = whole_fleet_->at(whole_fleet_->family(demand));
  if (whole_fleet_->hold(slots.cells, demand.descending())) return absl::OkStatus();
  const uint64_t largest = slots.cells.empty() ? 0 : whole_fleet_->cells()[slots.cells[0]].bytes;
  const uint32_t fitting = static_cast<uint32_t>(whole_fleet_->fitting(slots.cells, demand.largest()));
  return refusal(
      v1::ErrorInfo::NEVER_FITS,
      absl::StrCat("needs ", demand_text(demand), ", which ", count_text(whole_fleet_->workers().size(), "worker"),
                   " with ", count_text(slots.cells.size(), "slot"), " of that kind can never hold: ",
                   what_fits(demand, fitting, static_cast<uint32_t>(slots.cells.size()), largest),
                   "; submit --allow-pending has it wait for a worker that can"));
}

}  // namespace galleon::server

#include "server/core/slot_board.h"

#include <algorithm>

namespace galleon::server {

namespace {

bool accepts(const Demand& demand, const WorkerSlots& worker) {
  return std::all_of(demand.labels.begin(), demand.labels.end(), [&worker](const auto& wanted) {
    const auto it = worker.labels.find(wanted.first);
    return it != worker.labels.end() && it->second == wanted.second;
  });
}

bool accepts(const Demand& demand, const Slot& slot) {
  return slot.healthy && !(demand.device == v1::Resources::DEVICE_CPU && slot.cuda) &&
         !(demand.device == v1::Resources::DEVICE_CUDA && !slot.cuda);
}

}  // namespace

SlotBoard::SlotBoard(std::vector<WorkerSlots> fleet) : fleet_(std::move(fleet)) {
  for (uint32_t w = 0; w < fleet_.size(); ++w) {
    first_.push_back(static_cast<uint32_t>(cells_.size()));
    by_id_.emplace(fleet_[w].worker_id, w);
    for (const Slot& slot : fleet_[w].slots) {
      Cell& cell = cells_.emplace_back();
      cell.worker = w;
      cell.index = slot.index;
      cell.bytes = slot.free_bytes;
      cell.healthy = slot.healthy;
      cell.free = slot.free;
    }
  }
}

size_t SlotBoard::family(const Demand& demand) {
  const auto [it, added] =
      known_.emplace(std::make_pair(static_cast<int>(demand.device), demand.labels), families_.size());
  if (!added) return it->second;
  Family& made = families_.emplace_back();
  for (uint32_t w = 0; w < fleet_.size(); ++w) {
    if (!accepts(demand, fleet_[w])) continue;
    for (uint32_t i = 0; i < fleet_[w].slots.size(); ++i) {
      if (accepts(demand, fleet_[w].slots[i])) made.cells.push_back(first_[w] + i);
    }
  }
  std::stable_sort(made.cells.begin(), made.cells.end(),
                   [this](uint32_t a, uint32_t b) { return cells_[a].bytes > cells_[b].bytes; });
  return it->second;
}

const SlotBoard::Family& SlotBoard::at(size_t family) {
  Family& found = families_[family];
  if (found.free_version != version_) {
    found.free_version = version_;
    found.free.clear();
    std::copy_if(found.cells.begin(), found.cells.end(), std::back_inserter(found.free),
                 [this](uint32_t cell) { return cells_[cell].free; });
  }
  return found;
}

size_t SlotBoard::fitting(const Cells& ordered, uint64_t bytes) const {
  return static_cast<size_t>(
      std::partition_point(ordered.begin(), ordered.end(), [&](uint32_t cell) { return cells_[cell].bytes >= bytes; }) -
      ordered.begin());
}

bool SlotBoard::hold(const Cells& cells, const std::vector<uint64_t>& needs) const {
  if (cells.size() < needs.size()) return false;
  for (size_t i = 0; i < needs.size(); ++i) {
    if (cells_[cells[i]].bytes < needs[i]) return false;
  }
  return true;
}

int64_t SlotBoard::find(absl::string_view worker_id, uint32_t slot) const {
  const auto it = by_id_.find(std::string(worker_id));
  if (it == by_id_.end() || slot >= fleet_[it->second].slots.size()) return -1;
  return first_[it->second] + slot;
}

void SlotBoard::take(uint32_t cell) {
  cells_[cell].free = false;
  ++version_;
}

}  // namespace galleon::server

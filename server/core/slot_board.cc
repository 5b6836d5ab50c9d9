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

std::vector<SlotBoard::Size> sizes_of(const std::vector<SlotBoard::Cell>& cells, const Cells& ordered) {
  std::vector<SlotBoard::Size> sizes;
  for (const uint32_t cell : ordered) {
    if (sizes.empty() || sizes.back().bytes != cells[cell].bytes)
      sizes.push_back({cells[cell].bytes, sizes.empty() ? 0 : sizes.back().count});
    ++sizes.back().count;
  }
  return sizes;
}

}  // namespace

SlotBoard::SlotBoard(std::vector<WorkerSlots> workers) {
  auto fleet = std::make_shared<Fleet>();
  fleet->workers = std::move(workers);
  std::map<std::string, int32_t> racks;
  for (const WorkerSlots& worker : fleet->workers) {
    if (const auto it = worker.labels.find(kRackLabel); it != worker.labels.end()) racks.emplace(it->second, 0);
  }
  int32_t number = 0;
  for (auto& [name, rack] : racks) rack = number++;
  for (uint32_t w = 0; w < fleet->workers.size(); ++w) {
    const WorkerSlots& worker = fleet->workers[w];
    fleet->first.push_back(static_cast<uint32_t>(cells_.size()));
    fleet->by_id.emplace(worker.worker_id, w);
    const auto it = worker.labels.find(kRackLabel);
    fleet->racks.push_back(it == worker.labels.end() ? -1 : racks[it->second]);
    for (const Slot& slot : worker.slots) {
      Cell& cell = cells_.emplace_back();
      cell.worker = w;
      cell.index = slot.index;
      cell.bytes = slot.free_bytes;
      cell.cuda = slot.cuda;
      cell.healthy = slot.healthy;
      cell.free = slot.free;
      cell.open = slot.open;
    }
  }
  fleet_ = std::move(fleet);
}

size_t SlotBoard::family(const Demand& demand) {
  if (const auto it = known_.find(demand); it != known_.end()) return it->second;
  const size_t number = families_.size();
  known_.emplace(Kind{static_cast<int>(demand.device), demand.labels}, number);
  Family& made = families_.emplace_back();
  for (uint32_t w = 0; w < workers().size(); ++w) {
    const WorkerSlots& worker = workers()[w];
    if (!accepts(demand, worker)) continue;
    for (uint32_t i = 0; i < worker.slots.size(); ++i) {
      if (accepts(demand, worker.slots[i])) made.cells.push_back(first_cell(w) + i);
    }
  }
  std::stable_sort(made.cells.begin(), made.cells.end(),
                   [this](uint32_t a, uint32_t b) { return cells_[a].bytes > cells_[b].bytes; });
  made.sizes = sizes_of(cells_, made.cells);
  return number;
}

const SlotBoard::Family& SlotBoard::at(size_t family) {
  Family& found = families_[family];
  if (found.free_version != version_) {
    // None becomes free during a pass.
    if (found.free_version == 0) {
      found.free = found.open = found.cells;
      std::erase_if(found.open, [this](uint32_t cell) { return !cells_[cell].open; });
    }
    found.free_version = version_;
    std::erase_if(found.free, [this](uint32_t cell) { return !cells_[cell].free; });
    found.free_sizes = sizes_of(cells_, found.free);
  }
  return found;
}

uint32_t SlotBoard::fitting(const std::vector<Size>& sizes, uint64_t bytes) {
  const auto it =
      std::partition_point(sizes.begin(), sizes.end(), [bytes](const Size& size) { return size.bytes >= bytes; });
  return it == sizes.begin() ? 0 : std::prev(it)->count;
}

size_t SlotBoard::fitting(const Cells& ordered, uint64_t bytes) const {
  return static_cast<size_t>(
      std::partition_point(ordered.begin(), ordered.end(), [&](uint32_t cell) { return cells_[cell].bytes >= bytes; }) -
      ordered.begin());
}

bool SlotBoard::hold(absl::Span<const uint32_t> cells, const std::vector<uint64_t>& needs) const {
  if (cells.size() < needs.size()) return false;
  for (size_t i = 0; i < needs.size(); ++i) {
    if (cells_[cells[i]].bytes < needs[i]) return false;
  }
  return true;
}

int64_t SlotBoard::find(absl::string_view worker_id, uint32_t slot) const {
  const auto it = fleet_->by_id.find(worker_id);
  if (it == fleet_->by_id.end() || slot >= workers()[it->second].slots.size()) return -1;
  return first_cell(it->second) + slot;
}

void SlotBoard::take(uint32_t cell) {
  cells_[cell].free = false;
  ++version_;
}

}  // namespace galleon::server

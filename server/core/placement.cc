#include "server/core/placement.h"

#include <algorithm>
#include <numeric>

namespace galleon::server {

namespace {

// Usable cells of some workers that are near to each other, the largest first.
struct Group {
  Cells cells;
  std::vector<size_t> members;  // groups of one worker each
};

// The group that holds the ranks with the fewest cells; null if none does.
const Group* tightest(const SlotBoard& board, const std::vector<Group>& groups, const std::vector<uint64_t>& needs) {
  const Group* best = nullptr;
  for (const Group& group : groups) {
    if (best != nullptr && group.cells.size() >= best->cells.size()) continue;
    if (board.hold(group.cells, needs)) best = &group;
  }
  return best;
}

std::vector<Group> by_worker(const SlotBoard& board, const Cells& usable) {
  std::vector<Group> groups;
  std::vector<int> group_of(board.workers().size(), -1);
  for (const uint32_t cell : usable) {
    int& group = group_of[board.cells()[cell].worker];
    if (group < 0) {
      group = static_cast<int>(groups.size());
      groups.emplace_back().members.push_back(groups.size() - 1);
    }
    groups[group].cells.push_back(cell);
  }
  return groups;
}

std::vector<Group> by_rack(const SlotBoard& board, const Cells& usable, const std::vector<Group>& workers) {
  std::map<std::string, Group> racks;
  for (size_t i = 0; i < workers.size(); ++i) {
    const auto& labels = board.workers()[board.cells()[workers[i].cells[0]].worker].labels;
    if (const auto it = labels.find(kRackLabel); it != labels.end()) racks[it->second].members.push_back(i);
  }
  for (const uint32_t cell : usable) {
    const auto& labels = board.workers()[board.cells()[cell].worker].labels;
    if (const auto it = labels.find(kRackLabel); it != labels.end()) racks[it->second].cells.push_back(cell);
  }
  std::vector<Group> groups;
  for (auto& [rack, group] : racks) groups.push_back(std::move(group));
  return groups;
}

// Each rank gets a cell of the earliest worker that has one for it, the smallest that suffices. The largest ranks
// choose first; as whatever holds a large rank holds a small one too, none is left over.
Cells assign(const SlotBoard& board, const std::vector<const Group*>& workers, const Demand& demand) {
  std::vector<size_t> order(demand.ranks());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&demand](size_t a, size_t b) { return demand.rank_bytes[a] > demand.rank_bytes[b]; });
  std::vector<Cells> left;
  for (const Group* worker : workers) left.push_back(worker->cells);
  Cells chosen(demand.ranks());
  for (const size_t rank : order) {
    bool found = false;
    for (Cells& cells : left) {
      const size_t fit = board.fitting(cells, demand.rank_bytes[rank]);
      if (fit == 0) continue;
      chosen[rank] = cells[fit - 1];
      cells.erase(cells.begin() + static_cast<int64_t>(fit) - 1);
      found = true;
      break;
    }
    if (!found) return {};
  }
  return chosen;
}

}  // namespace

Cells choose_cells(const SlotBoard& board, const Cells& usable, const Demand& demand) {
  const std::vector<uint64_t> needs = demand.descending();
  if (!board.hold(usable, needs)) return {};
  const std::vector<Group> workers = by_worker(board, usable);
  if (const Group* one = tightest(board, workers, needs)) return assign(board, {one}, demand);
  const std::vector<Group> racks = by_rack(board, usable, workers);
  const Group* rack = tightest(board, racks, needs);
  std::vector<const Group*> members;
  if (rack != nullptr) {
    for (const size_t i : rack->members) members.push_back(&workers[i]);
  } else {
    for (const Group& worker : workers) members.push_back(&worker);
  }
  // The fewest workers: the largest first, until they suffice.
  std::stable_sort(members.begin(), members.end(),
                   [](const Group* a, const Group* b) { return a->cells.size() > b->cells.size(); });
  Cells pool;
  size_t count = 0;
  while (count < members.size() && !board.hold(pool, needs)) {
    Cells merged;
    std::merge(pool.begin(), pool.end(), members[count]->cells.begin(), members[count]->cells.end(),
               std::back_inserter(merged),
               [&board](uint32_t a, uint32_t b) { return board.cells()[a].bytes > board.cells()[b].bytes; });
    pool = std::move(merged);
    ++count;
  }
  members.resize(count);
  return assign(board, members, demand);
}

}  // namespace galleon::server

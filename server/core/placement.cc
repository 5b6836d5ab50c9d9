#include "server/core/placement.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "absl/types/span.h"

namespace galleon::server {

namespace {

// Usable cells of some workers that are near to each other, the largest first.
struct Group {
  absl::Span<const uint32_t> cells;
  std::vector<size_t> members;  // of a rack: its workers' groups
};

// Groups in the order in which they first appear, with their cells in one array.
struct Groups {
  Cells cells;
  std::vector<Group> groups;
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

// Divides `usable` by a number that `key` gives each cell's worker, from 0 to below `keys`; those of -1 are left out.
template <typename Key>
Groups divide(const SlotBoard& board, const Cells& usable, size_t keys, const Key& key) {
  Groups made;
  std::vector<uint32_t> counts(keys, 0);
  size_t total = 0;
  for (const uint32_t cell : usable) {
    const int32_t of = key(board.cells()[cell].worker);
    if (of < 0) continue;
    ++counts[static_cast<size_t>(of)];
    ++total;
  }
  made.cells.resize(total);
  constexpr uint32_t kNone = UINT32_MAX;
  std::vector<uint32_t> next(keys, kNone);
  uint32_t begin = 0;
  for (const uint32_t cell : usable) {
    const int32_t of = key(board.cells()[cell].worker);
    if (of < 0) continue;
    uint32_t& at = next[static_cast<size_t>(of)];
    if (at == kNone) {
      const uint32_t count = counts[static_cast<size_t>(of)];
      made.groups.push_back({absl::MakeConstSpan(made.cells.data() + begin, count), {}});
      at = begin;
      begin += count;
    }
    made.cells[at++] = cell;
  }
  return made;
}

Groups by_worker(const SlotBoard& board, const Cells& usable) {
  return divide(board, usable, board.workers().size(), [](uint32_t worker) { return static_cast<int32_t>(worker); });
}

// Racks in the order of their names.
Groups by_rack(const SlotBoard& board, const Cells& usable, const std::vector<Group>& workers) {
  Groups racks =
      divide(board, usable, board.workers().size(), [&board](uint32_t worker) { return board.rack(worker); });
  const auto rack_of = [&board](const Group& group) { return board.rack(board.cells()[group.cells[0]].worker); };
  std::sort(racks.groups.begin(), racks.groups.end(),
            [&rack_of](const Group& a, const Group& b) { return rack_of(a) < rack_of(b); });
  std::vector<Group*> by_number(board.workers().size(), nullptr);
  for (Group& rack : racks.groups) by_number[static_cast<size_t>(rack_of(rack))] = &rack;
  for (size_t i = 0; i < workers.size(); ++i) {
    if (const int32_t rack = rack_of(workers[i]); rack >= 0) by_number[static_cast<size_t>(rack)]->members.push_back(i);
  }
  return racks;
}

// Each rank gets a cell of the earliest worker that has one for it, the smallest that suffices. The largest ranks
// choose first; as whatever holds a large rank holds a small one too, none is left over.
Cells assign(const SlotBoard& board, const std::vector<const Group*>& workers, const Demand& demand) {
  std::vector<size_t> order(demand.ranks());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&demand](size_t a, size_t b) { return demand.rank_bytes[a] > demand.rank_bytes[b]; });
  std::vector<Cells> left;
  for (const Group* worker : workers) left.emplace_back(worker->cells.begin(), worker->cells.end());
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

Cells choose_near(const SlotBoard& board, const Cells& usable, const Demand& demand) {
  const std::vector<uint64_t> needs = demand.descending();
  if (!board.hold(usable, needs)) return {};
  const Groups divided = by_worker(board, usable);
  const std::vector<Group>& workers = divided.groups;
  if (const Group* one = tightest(board, workers, needs)) return assign(board, {one}, demand);
  const Groups racks = by_rack(board, usable, workers);
  const Group* rack = tightest(board, racks.groups, needs);
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

}  // namespace

Cells choose_cells(const SlotBoard& board, const Cells& usable, const Demand& demand) {
  const auto is_cuda = [&board](uint32_t cell) { return board.cells()[cell].cuda; };
  const auto gpus = std::count_if(usable.begin(), usable.end(), is_cuda);
  if (gpus == 0 || gpus == static_cast<int64_t>(usable.size())) return choose_near(board, usable, demand);
  // Ranks of one job are of one kind, GPUs where they suffice.
  Cells some;
  std::copy_if(usable.begin(), usable.end(), std::back_inserter(some), is_cuda);
  Cells chosen = choose_near(board, some, demand);
  if (!chosen.empty()) return chosen;
  some.clear();
  std::copy_if(usable.begin(), usable.end(), std::back_inserter(some), [&](uint32_t cell) { return !is_cuda(cell); });
  return choose_near(board, some, demand);
}

}  // namespace galleon::server

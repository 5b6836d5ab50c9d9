#include "server/core/estimate.h"

#include <algorithm>

namespace galleon::server {

int64_t certain_start(SlotBoard& board, const Demand& demand, uint64_t number, int64_t now_ms,
                      const std::vector<RunningJob>& running) {
  const SlotBoard::Family& slots = board.at(board.family(demand));
  const size_t fitting = board.fitting(slots.cells, demand.smallest());
  std::vector<bool> accepted(board.cells().size(), false);
  std::vector<int64_t> times;
  for (size_t i = 0; i < fitting; ++i) {
    const SlotBoard::Cell& cell = board.cells()[slots.cells[i]];
    if (cell.holder != 0 && cell.holder != number) continue;
    if (cell.free) times.push_back(now_ms);
    if (!cell.free) accepted[slots.cells[i]] = true;
  }
  for (const RunningJob& job : running) {
    for (const uint32_t cell : job.cells) {
      if (accepted[cell] && job.ends_by_ms != kNever) times.push_back(std::max(now_ms, job.ends_by_ms));
    }
  }
  if (times.size() < demand.ranks()) return kNever;
  std::nth_element(times.begin(), times.begin() + demand.ranks() - 1, times.end());
  return times[demand.ranks() - 1];
}

StartEstimates::StartEstimates(const SlotBoard& board, int64_t now_ms, const std::vector<RunningJob>& running)
    : available_(board.cells().size(), kNever) {
  for (size_t i = 0; i < available_.size(); ++i) {
    if (board.cells()[i].free) available_[i] = now_ms;
  }
  for (const RunningJob& job : running) {
    const int64_t end = std::min(job.ends_by_ms, job.expected_ms);
    for (const uint32_t cell : job.cells) available_[cell] = end == kNever ? kNever : std::max(now_ms, end);
  }
}

int64_t StartEstimates::start(SlotBoard& board, const Demand& demand, int64_t duration_ms) {
  const SlotBoard::Family& slots = board.at(board.family(demand));
  Cells fitting(slots.cells.begin(),
                slots.cells.begin() + static_cast<int64_t>(board.fitting(slots.cells, demand.smallest())));
  const size_t ranks = demand.ranks();
  if (ranks == 0 || fitting.size() < ranks) return kNever;
  std::nth_element(fitting.begin(), fitting.begin() + static_cast<int64_t>(ranks) - 1, fitting.end(),
                   [this](uint32_t a, uint32_t b) { return available_[a] < available_[b]; });
  const int64_t start = available_[fitting[ranks - 1]];
  const int64_t end = start == kNever || duration_ms == kNever ? kNever : start + duration_ms;
  for (size_t i = 0; i < ranks; ++i) available_[fitting[i]] = end;
  return start;
}

}  // namespace galleon::server

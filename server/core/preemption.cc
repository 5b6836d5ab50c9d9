#include "server/core/preemption.h"

#include <algorithm>

namespace galleon::server {

namespace {

struct Candidate {
  size_t index;  // into running
  Cells cells;   // of its cells, those that the demand accepts
};

bool newer(const RunningJob& a, const RunningJob& b) {
  return a.start_ms != b.start_ms ? a.start_ms > b.start_ms : a.number > b.number;
}

bool suffices(const SlotBoard& board, const Cells& usable, const std::vector<const Candidate*>& chosen,
              const std::vector<uint64_t>& needs) {
  Cells pool = usable;
  for (const Candidate* candidate : chosen) pool.insert(pool.end(), candidate->cells.begin(), candidate->cells.end());
  std::stable_sort(pool.begin(), pool.end(),
                   [&board](uint32_t a, uint32_t b) { return board.cells()[a].bytes > board.cells()[b].bytes; });
  return board.hold(pool, needs);
}

// The most cells that `count` of the candidates bring together.
size_t best_of(const std::vector<const Candidate*>& rest, size_t count) {
  std::vector<size_t> sizes;
  sizes.reserve(rest.size());
  for (const Candidate* candidate : rest) sizes.push_back(candidate->cells.size());
  std::sort(sizes.rbegin(), sizes.rend());
  size_t sum = 0;
  for (size_t i = 0; i < count && i < sizes.size(); ++i) sum += sizes[i];
  return sum;
}

// How long the victim is spared from this claim.
int64_t spared_ms(const Claim& claim, const RunningJob& victim) {
  return victim.queue == claim.queue ? victim.spared_ms : victim.spared_from_guarantees_ms;
}

std::vector<size_t> choose_within(Reach reach, SlotBoard& board, const Demand& demand, const Claim& claim,
                                  const Cells& usable, const std::vector<RunningJob>& running,
                                  const std::vector<QueueUse>& queues) {
  const std::vector<uint64_t> needs = demand.descending();
  if (board.hold(usable, needs)) return {};
  const size_t family = board.family(demand);
  std::vector<bool> accepted(board.cells().size(), false);
  const SlotBoard::Family& slots = board.at(family);
  for (size_t i = 0; i < board.fitting(slots.cells, needs.back()); ++i)
    accepted[slots.cells[i]] = board.cells()[slots.cells[i]].open;

  // What each queue has to give is counted from its newest job on, so that the choice below is free within it.
  std::vector<size_t> order;
  for (size_t i = 0; i < running.size(); ++i) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return newer(running[a], running[b]); });
  std::vector<uint32_t> taken(queues.size(), 0);
  std::vector<Candidate> candidates;
  for (const size_t i : order) {
    if (!may_preempt(claim, demand.ranks(), running[i], queues, taken, reach)) continue;
    Candidate candidate{i, {}};
    for (const uint32_t cell : running[i].cells) {
      const uint64_t holder = board.cells()[cell].holder;
      if (accepted[cell] && (holder == 0 || holder == claim.number)) candidate.cells.push_back(cell);
    }
    if (candidate.cells.empty()) continue;
    if (running[i].queue != claim.queue) taken[running[i].queue] += running[i].slots;
    candidates.push_back(std::move(candidate));
  }

  // The fewest: the largest first until they suffice.
  std::vector<const Candidate*> largest;
  largest.reserve(candidates.size());
  for (const Candidate& candidate : candidates) largest.push_back(&candidate);
  std::stable_sort(largest.begin(), largest.end(),
                   [](const Candidate* a, const Candidate* b) { return a->cells.size() > b->cells.size(); });
  std::vector<const Candidate*> fewest;
  for (const Candidate* candidate : largest) {
    fewest.push_back(candidate);
    if (suffices(board, usable, fewest, needs)) break;
  }
  if (!suffices(board, usable, fewest, needs)) return {};

  // As few, but newer: take the newest that still leaves enough for the others.
  std::vector<const Candidate*> newest;
  std::vector<const Candidate*> rest;
  rest.reserve(candidates.size());
  for (const Candidate& candidate : candidates) rest.push_back(&candidate);
  size_t have = usable.size();
  while (!rest.empty() && newest.size() < fewest.size()) {
    const Candidate* next = rest.front();
    rest.erase(rest.begin());
    if (have + next->cells.size() + best_of(rest, fewest.size() - newest.size() - 1) < needs.size()) continue;
    newest.push_back(next);
    have += next->cells.size();
  }
  const std::vector<const Candidate*>& chosen = suffices(board, usable, newest, needs) ? newest : fewest;
  std::vector<size_t> victims;
  victims.reserve(chosen.size());
  for (const Candidate* candidate : chosen) victims.push_back(candidate->index);
  return victims;
}

}  // namespace

bool may_preempt(const Claim& claim, uint32_t ranks, const RunningJob& victim, const std::vector<QueueUse>& queues,
                 const std::vector<uint32_t>& taken, Reach reach) {
  if (!victim.preemptible || victim.stopping || victim.number == claim.number) return false;
  const int64_t spared = reach == Reach::kUnspared ? victim.spared_ms : spared_ms(claim, victim);
  if (reach != Reach::kLater && spared > 0) return false;
  if (victim.queue == claim.queue) return victim.priority < claim.priority;
  const QueueUse& own = queues[claim.queue];
  const uint32_t borrowed = queues[victim.queue].borrowed();
  const uint32_t already = taken[victim.queue];
  const bool in_part = reach == Reach::kWhole || reach == Reach::kLater;
  return own.entitled(ranks) && (in_part ? borrowed > already : borrowed >= already + victim.slots);
}

std::vector<size_t> choose_victims(SlotBoard& board, const Demand& demand, const Claim& claim, const Cells& usable,
                                   const std::vector<RunningJob>& running, const std::vector<QueueUse>& queues) {
  for (const Reach reach : {Reach::kUnspared, Reach::kGuarantee, Reach::kWhole}) {
    std::vector<size_t> victims = choose_within(reach, board, demand, claim, usable, running, queues);
    if (!victims.empty()) return victims;
  }
  return {};
}

int64_t spared_for(SlotBoard& board, const Demand& demand, const Claim& claim, const Cells& usable,
                   const std::vector<RunningJob>& running, const std::vector<QueueUse>& queues) {
  int64_t longest_ms = 0;
  for (const size_t victim : choose_within(Reach::kLater, board, demand, claim, usable, running, queues))
    longest_ms = std::max(longest_ms, spared_ms(claim, running[victim]));
  return longest_ms;
}

}  // namespace galleon::server

#include "server/core/queues.h"

#include <algorithm>

namespace galleon::server {

bool comes_before(const QueueUse& a, const NextJob& next_a, const QueueUse& b, const NextJob& next_b) {
  const bool entitled = a.entitled(next_a.ranks);
  if (entitled != b.entitled(next_b.ranks)) return entitled;
  if (!entitled && next_a.overdue != next_b.overdue) return next_a.overdue;
  if (!entitled && next_a.overdue) return next_a.number < next_b.number;
  const auto load = [entitled](const QueueUse& queue) {
    return static_cast<double>(queue.used) / (entitled ? queue.config.guaranteed : queue.config.weight);
  };
  const double first = load(a);
  const double second = load(b);
  return first != second ? first < second : next_a.number < next_b.number;
}

uint32_t beyond_guarantees(const std::vector<QueueUse>& queues, size_t queue, uint32_t ranks, uint32_t total) {
  if (queues[queue].fixed + queues[queue].due + ranks <= queues[queue].config.guaranteed) return 0;
  uint64_t promised = ranks;
  for (size_t i = 0; i < queues.size(); ++i) {
    const uint32_t taken = queues[i].fixed + queues[i].due;
    promised += i == queue ? taken : std::max(taken, queues[i].config.guaranteed);
  }
  return promised <= total ? 0 : static_cast<uint32_t>(promised - total);
}

bool always_beyond_guarantees(const std::vector<QueueUse>& queues, size_t queue, uint32_t ranks, uint32_t total) {
  std::vector<QueueUse> idle = queues;
  for (QueueUse& use : idle) use.fixed = use.due = 0;
  return beyond_guarantees(idle, queue, ranks, total) > 0;
}

std::vector<double> fair_shares(const std::vector<QueueUse>& queues, const std::vector<double>& wants, double total) {
  std::vector<double> shares(queues.size(), 0);
  std::vector<double> most(queues.size());
  double left = total;
  for (size_t i = 0; i < queues.size(); ++i) {
    most[i] = queues[i].config.limit == 0 ? wants[i] : std::min<double>(wants[i], queues[i].config.limit);
    shares[i] = std::min<double>({most[i], static_cast<double>(queues[i].config.guaranteed), std::max(0.0, left)});
    left -= shares[i];
  }
  // Water rises by weight in all queues until each is full or nothing is left.
  while (left > 1e-9) {
    double weight = 0;
    for (size_t i = 0; i < queues.size(); ++i) weight += shares[i] + 1e-9 < most[i] ? queues[i].config.weight : 0;
    if (weight <= 0) break;
    double rise = left / weight;
    for (size_t i = 0; i < queues.size(); ++i) {
      if (shares[i] + 1e-9 < most[i]) rise = std::min(rise, (most[i] - shares[i]) / queues[i].config.weight);
    }
    for (size_t i = 0; i < queues.size(); ++i) {
      if (shares[i] + 1e-9 >= most[i]) continue;
      shares[i] += rise * queues[i].config.weight;
      left -= rise * queues[i].config.weight;
    }
  }
  return shares;
}

}  // namespace galleon::server

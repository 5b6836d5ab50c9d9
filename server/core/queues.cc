#include "server/core/queues.h"

#include <algorithm>

namespace galleon::server {

bool comes_before(const QueueUse& a, const QueueUse& b) {
  if (a.below_guarantee() != b.below_guarantee()) return a.below_guarantee();
  const auto load = [](const QueueUse& queue) {
    if (queue.below_guarantee()) return static_cast<double>(queue.used) / queue.config.guaranteed;
    return static_cast<double>(queue.used) / queue.config.weight;
  };
  const double first = load(a);
  const double second = load(b);
  return first != second ? first < second : a.config.id < b.config.id;
}

bool leaves_guarantees(const std::vector<QueueUse>& queues, size_t queue, uint32_t ranks, uint32_t total) {
  uint64_t promised = ranks;
  for (size_t i = 0; i < queues.size(); ++i) {
    promised += queues[i].fixed;
    if (i != queue && queues[i].config.guaranteed > queues[i].fixed)
      promised += queues[i].config.guaranteed - queues[i].fixed;
  }
  return promised <= total;
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

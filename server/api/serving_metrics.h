// What one of several schedulers shows of itself: all that it knows while it serves, and before that only that it does
// not. Figures of one that stands by would be old, or another's a second time.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace galleon::server {

class WhileServing final : public prometheus::Collectable {
 public:
  WhileServing(std::shared_ptr<prometheus::Collectable> metrics, std::function<bool()> serves)
      : metrics_(std::move(metrics)), serves_(std::move(serves)) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Collectable> metrics_;
  const std::function<bool()> serves_;
};

}  // namespace galleon::server

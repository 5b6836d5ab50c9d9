// Connections of a server in its metrics.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "common/net/doorkeeper.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace galleon {

class WithConnections final : public prometheus::Collectable {
 public:
  WithConnections(std::shared_ptr<prometheus::Collectable> metrics, std::function<Doorkeeper::Counts()> counts);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Collectable> metrics_;
  const std::function<Doorkeeper::Counts()> counts_;
};

}  // namespace galleon

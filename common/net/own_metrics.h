// What every daemon tells of itself: its version, and what its process uses, under the names that dashboards for any
// program know.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace galleon {

// What `metrics` collects, with galleon_build_info and process_*. `program` is such as "galleon-worker".
class WithProcess final : public prometheus::Collectable {
 public:
  WithProcess(std::shared_ptr<prometheus::Collectable> metrics, std::string program, std::string version);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Collectable> metrics_;
  const std::string program_;
  const std::string version_;
};

// What `metrics` collects, with one more label on every series.
class WithLabel final : public prometheus::Collectable {
 public:
  WithLabel(std::shared_ptr<prometheus::Collectable> metrics, std::string name, std::string value)
      : metrics_(std::move(metrics)), name_(std::move(name)), value_(std::move(value)) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Collectable> metrics_;
  const std::string name_;
  const std::string value_;
};

}  // namespace galleon

// How much room a daemon's folder has, as metrics beside its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace galleon {

// What `metrics` collects, and galleon_disk_free_bytes and galleon_disk_size_bytes of the file system that holds
// `folder`, looked at whenever it is asked. Without the two where the file system does not tell.
class WithDiskSpace final : public prometheus::Collectable {
 public:
  WithDiskSpace(std::shared_ptr<prometheus::Collectable> metrics, std::string folder);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Collectable> metrics_;
  const std::string folder_;
};

}  // namespace galleon

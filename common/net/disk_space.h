// How much room a daemon's folder has, as metrics beside its own.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/disk_guard.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace galleon {

struct ShownSeries {
  const char* name;
  const char* help;
};

// A disk that is shown: what is free and how large the file system is that holds a folder, and whether its guard finds
// too little room.
struct ShownDisk {
  ShownSeries free;
  ShownSeries size;
  ShownSeries is_short;
  std::function<std::optional<DiskSpace>()> space;  // nullopt: not known
  const DiskGuard* guard = nullptr;                 // outlives the metrics; null: nobody guards it
};

// Of a daemon's --data, looked at whenever it is asked; and of the folder of all jobs, as its guard saw it last: its
// file system may be one over a network, and asking it may take for ever.
ShownDisk data_disk(std::string folder, const DiskGuard* guard = nullptr);
ShownDisk jobs_disk(const DiskGuard* guard);

// What `metrics` collects, and the disks. Without those whose file systems do not tell.
class WithDiskSpace final : public prometheus::Collectable {
 public:
  // galleon_disk_* of the folder of --data.
  WithDiskSpace(std::shared_ptr<prometheus::Collectable> metrics, std::string folder, const DiskGuard* guard = nullptr);
  WithDiskSpace(std::shared_ptr<prometheus::Collectable> metrics, std::vector<ShownDisk> disks);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Collectable> metrics_;
  const std::vector<ShownDisk> disks_;
};

}  // namespace galleon

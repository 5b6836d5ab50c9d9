#include "common/net/disk_space.h"

#include <optional>
#include <utility>

namespace galleon {

namespace {

prometheus::MetricFamily gauge(const std::string& name, const std::string& help, double value) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  return {name, help, prometheus::MetricType::Gauge, {metric}};
}

}  // namespace

ShownDisk data_disk(std::string folder, const DiskGuard* guard) {
  return {{"galleon_disk_free_bytes", "What this daemon may still write to the file system of its --data"},
          {"galleon_disk_size_bytes", "Size of the file system of --data"},
          {"galleon_disk_short", "1 while a scheduler's --data has less left than --keep-free, and takes no logs"},
          [folder = std::move(folder)] { return disk_space(folder); },
          guard};
}

ShownDisk jobs_disk(const DiskGuard* guard) {
  return {{"galleon_jobs_disk_free_bytes", "What a worker may still write to the file system of the jobs' folder"},
          {"galleon_jobs_disk_size_bytes", "Size of the file system of the jobs' folder"},
          {"galleon_jobs_disk_short", "1 while less is left there than --keep-free, and the worker takes no new jobs"},
          [guard] { return guard->last(); },
          guard};
}

WithDiskSpace::WithDiskSpace(std::shared_ptr<prometheus::Collectable> metrics, std::string folder,
                             const DiskGuard* guard)
    : WithDiskSpace(std::move(metrics), std::vector<ShownDisk>{data_disk(std::move(folder), guard)}) {}

WithDiskSpace::WithDiskSpace(std::shared_ptr<prometheus::Collectable> metrics, std::vector<ShownDisk> disks)
    : metrics_(std::move(metrics)), disks_(std::move(disks)) {}

std::vector<prometheus::MetricFamily> WithDiskSpace::Collect() const {
  std::vector<prometheus::MetricFamily> families = metrics_->Collect();
  for (const ShownDisk& disk : disks_) {
    const std::optional<DiskSpace> space = disk.space();
    if (!space) continue;
    families.push_back(gauge(disk.free.name, disk.free.help, static_cast<double>(space->free)));
    families.push_back(gauge(disk.size.name, disk.size.help, static_cast<double>(space->size)));
    if (disk.guard != nullptr)
      families.push_back(gauge(disk.is_short.name, disk.is_short.help, disk.guard->is_short() ? 1 : 0));
  }
  return families;
}

}  // namespace galleon

#include "common/net/disk_space.h"

#include <sys/statvfs.h>

#include <utility>

namespace galleon {

namespace {

prometheus::MetricFamily gauge(const std::string& name, const std::string& help, double value) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  return {name, help, prometheus::MetricType::Gauge, {metric}};
}

}  // namespace

WithDiskSpace::WithDiskSpace(std::shared_ptr<prometheus::Collectable> metrics, std::string folder)
    : metrics_(std::move(metrics)), folder_(std::move(folder)) {}

std::vector<prometheus::MetricFamily> WithDiskSpace::Collect() const {
  std::vector<prometheus::MetricFamily> families = metrics_->Collect();
  struct statvfs info {};
  if (::statvfs(folder_.c_str(), &info) != 0) return families;
  const auto block = static_cast<double>(info.f_frsize);
  families.push_back(gauge("galleon_disk_free_bytes",
                           "What this daemon may still write to the file system of its --data",
                           block * static_cast<double>(info.f_bavail)));
  families.push_back(gauge("galleon_disk_size_bytes", "Size of the file system of --data",
                           block * static_cast<double>(info.f_blocks)));
  return families;
}

}  // namespace galleon

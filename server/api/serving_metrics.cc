#include "server/api/serving_metrics.h"

namespace galleon::server {

namespace {

constexpr auto kGauge = prometheus::MetricType::Gauge;

prometheus::MetricFamily one(const char* name, const char* help, prometheus::MetricType type, double value) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  return {name, help, type, {metric}};
}

}  // namespace

std::vector<prometheus::MetricFamily> WhileServing::Collect() const {
  const bool serves = serves_();
  std::vector<prometheus::MetricFamily> families;
  if (serves) families = metrics_->Collect();
  families.push_back(
      one("galleon_scheduler_serving",
          "Whether this scheduler serves: 0 while it starts or stands by, and shows nothing of jobs and workers",
          kGauge, serves ? 1 : 0));
  return families;
}

}  // namespace galleon::server

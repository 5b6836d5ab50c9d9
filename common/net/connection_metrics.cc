#include "common/net/connection_metrics.h"

#include <string>
#include <utility>

namespace galleon {

namespace {

using Labels = std::vector<std::pair<std::string, uint64_t>>;

prometheus::MetricFamily family(const char* name, const char* help, prometheus::MetricType type, const char* label,
                                const Labels& values) {
  prometheus::MetricFamily made{name, help, type, {}};
  for (const auto& [word, value] : values) {
    prometheus::ClientMetric metric;
    metric.label = {{label, word}};
    (type == prometheus::MetricType::Gauge ? metric.gauge.value : metric.counter.value) = static_cast<double>(value);
    made.metric.push_back(std::move(metric));
  }
  return made;
}

}  // namespace

WithConnections::WithConnections(std::shared_ptr<prometheus::Collectable> metrics,
                                 std::function<Doorkeeper::Counts()> counts)
    : metrics_(std::move(metrics)), counts_(std::move(counts)) {}

std::vector<prometheus::MetricFamily> WithConnections::Collect() const {
  std::vector<prometheus::MetricFamily> families = metrics_->Collect();
  const Doorkeeper::Counts counts = counts_();
  families.push_back(family("galleon_connections", "Connections to the services: serving, or silent so far",
                            prometheus::MetricType::Gauge, "state",
                            {{"serving", counts.open}, {"silent", counts.silent}}));
  families.push_back(family("galleon_connections_refused_total",
                            "Connections that did not get to the services, or were ended there",
                            prometheus::MetricType::Counter, "reason",
                            {{"too_many", counts.refused},
                             {"silent_or_foreign", counts.turned_away},
                             {"unanswered", counts.ended},
                             {"cancelled", counts.flooding}}));
  return families;
}

}  // namespace galleon

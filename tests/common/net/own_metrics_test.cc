#include "common/net/own_metrics.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>
#include <map>

#include "prometheus/gauge.h"
#include "prometheus/registry.h"

namespace galleon {
namespace {

std::map<std::string, double> values(const prometheus::Collectable& metrics) {
  std::map<std::string, double> found;
  for (const prometheus::MetricFamily& family : metrics.Collect()) {
    const prometheus::ClientMetric& metric = family.metric.at(0);
    found[family.name] = family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value;
  }
  return found;
}

TEST(WithProcess, TellsWhatTheProcessUses) {
  const WithProcess metrics(std::make_shared<prometheus::Registry>(), "galleon-worker", "1.2");
  const std::map<std::string, double> before = values(metrics);
  EXPECT_EQ(before.at("galleon_build_info"), 1);
  EXPECT_GT(before.at("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(before.at("process_virtual_memory_bytes"), before.at("process_resident_memory_bytes"));
  EXPECT_GE(before.at("process_threads"), 1);
  EXPECT_GE(before.at("process_max_fds"), before.at("process_open_fds"));
  // A day: who is off by less has the right clock.
  EXPECT_NEAR(before.at("process_start_time_seconds"), static_cast<double>(std::time(nullptr)), 86400);
  const int more = ::dup(0);
  EXPECT_EQ(values(metrics).at("process_open_fds"), before.at("process_open_fds") + 1);
  ::close(more);
  const std::clock_t start = std::clock();
  while (std::clock() - start < CLOCKS_PER_SEC / 10) {
  }
  EXPECT_GE(values(metrics).at("process_cpu_seconds_total"), before.at("process_cpu_seconds_total") + 0.05);
}

TEST(WithLabel, EverySeriesHasIt) {
  const auto registry = std::make_shared<prometheus::Registry>();
  auto& family = prometheus::BuildGauge().Name("a").Register(*registry);
  family.Add({{"slot", "0"}});
  family.Add({{"slot", "1"}});
  const WithLabel metrics(registry, "worker", "w1");
  const std::vector<prometheus::MetricFamily> families = metrics.Collect();
  ASSERT_EQ(families.at(0).metric.size(), 2U);
  for (const prometheus::ClientMetric& metric : families[0].metric) {
    EXPECT_EQ(metric.label.size(), 2U);
    EXPECT_EQ(metric.label.at(0).name, "worker");
    EXPECT_EQ(metric.label.at(0).value, "w1");
  }
}

}  // namespace
}  // namespace galleon

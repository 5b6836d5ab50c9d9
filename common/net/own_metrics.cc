#include "common/net/own_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"

namespace galleon {

namespace {

constexpr auto kGauge = prometheus::MetricType::Gauge;
constexpr auto kCounter = prometheus::MetricType::Counter;

prometheus::MetricFamily one(const char* name, const char* help, prometheus::MetricType type, double value) {
  prometheus::ClientMetric metric;
  (type == kGauge ? metric.gauge.value : metric.counter.value) = value;
  return {name, help, type, {metric}};
}

// Fields of /proc/self/stat from the third on, as numbers; those that are none are 0.
std::vector<double> stat_fields() {
  const std::string text = read_file("/proc/self/stat").value_or("");
  std::vector<double> fields;
  const size_t after = text.rfind(')');
  if (after == std::string::npos || after + 2 > text.size()) return fields;
  for (const absl::string_view word : absl::StrSplit(text.substr(after + 2), ' ')) {
    double value = 0;
    if (!absl::SimpleAtod(word, &value)) value = 0;
    fields.push_back(value);
  }
  return fields;
}

// In seconds since 1970.
double boot_time() {
  const std::string text = read_file("/proc/stat").value_or("");
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    double value = 0;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words.size() == 2 && words[0] == "btime" && absl::SimpleAtod(words[1], &value)) return value;
  }
  return 0;
}

size_t open_files() {
  std::error_code error;
  size_t count = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end; it.increment(error))
    ++count;
  return count > 0 ? count - 1 : 0;  // without the one that looks
}

void add_process(std::vector<prometheus::MetricFamily>& out) {
  // proc(5): of these, the fields 14, 15, 20, 22, 23 and 24 of the line.
  constexpr size_t kUser = 11, kSystem = 12, kThreads = 17, kStart = 19, kVirtual = 20, kResident = 21;
  const std::vector<double> fields = stat_fields();
  if (fields.size() <= kResident) return;
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  out.push_back(one("process_cpu_seconds_total", "Processor time of this daemon, user and system", kCounter,
                    (fields[kUser] + fields[kSystem]) / ticks));
  out.push_back(one("process_resident_memory_bytes", "Resident memory of this daemon", kGauge,
                    fields[kResident] * static_cast<double>(::sysconf(_SC_PAGESIZE))));
  out.push_back(one("process_virtual_memory_bytes", "Address space of this daemon", kGauge, fields[kVirtual]));
  out.push_back(one("process_threads", "Threads of this daemon", kGauge, fields[kThreads]));
  out.push_back(one("process_open_fds", "Open file descriptors", kGauge, static_cast<double>(open_files())));
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0)
    out.push_back(
        one("process_max_fds", "File descriptors that may be open", kGauge, static_cast<double>(limit.rlim_cur)));
  if (const double boot = boot_time(); boot > 0) {
    out.push_back(one("process_start_time_seconds", "When this daemon started, in seconds since 1970", kGauge,
                      boot + fields[kStart] / ticks));
  }
}

}  // namespace

WithProcess::WithProcess(std::shared_ptr<prometheus::Collectable> metrics, std::string program, std::string version)
    : metrics_(std::move(metrics)), program_(std::move(program)), version_(std::move(version)) {}

std::vector<prometheus::MetricFamily> WithProcess::Collect() const {
  std::vector<prometheus::MetricFamily> families = metrics_->Collect();
  prometheus::MetricFamily build = one("galleon_build_info", "The program and version that runs; always 1", kGauge, 1);
  build.metric[0].label = {{"program", program_}, {"version", version_}};
  families.push_back(std::move(build));
  add_process(families);
  return families;
}

std::vector<prometheus::MetricFamily> WithLabel::Collect() const {
  std::vector<prometheus::MetricFamily> families = metrics_->Collect();
  for (prometheus::MetricFamily& family : families)
    for (prometheus::ClientMetric& metric : family.metric) metric.label.insert(metric.label.begin(), {name_, value_});
  return families;
}

}  // namespace galleon

// The lines of a job's metrics.jsonl as series, thinned to as many points as somebody can look at.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/jobs.pb.h"

namespace galleon::server {

inline constexpr uint32_t kDefaultBuckets = 400;
inline constexpr uint32_t kMostBuckets = 2000;

// INVALID_ARGUMENT names the field.
absl::Status check_metrics_request(const v1::ReadMetricsRequest& request);

class MetricSeries {
 public:
  // Takes whole lines; what comes after the last newline is left. Returns how many bytes were taken. A step that is
  // there already, or behind one that is, replaces those from it on. Lines that are no objects with a step are passed
  // over.
  size_t add(absl::string_view text);
  // `request` has been checked.
  v1::ReadMetricsResponse read(const v1::ReadMetricsRequest& request) const;
  // About, in memory.
  size_t bytes() const { return points_ * sizeof(Point); }

 private:
  struct Point {
    uint64_t step;
    double value;  // NaN: no finite number
  };
  void add_line(absl::string_view line);
  void add_point(const std::string& name, uint64_t step, double value);

  std::map<std::string, std::vector<Point>> series_;
  size_t points_ = 0;
  uint64_t newest_step_ = 0;
};

}  // namespace galleon::server

#include "server/api/metric_series.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/json_depth.h"

namespace galleon::server {

namespace {

using Json = nlohmann::json;

constexpr size_t kMostSeries = 500;  // metrics.jsonl has some forty
constexpr int kMostNotFinite = 100;

// Of a file that anybody may have written: not for names that are no keys.
bool is_key(const std::string& name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// The smallest power of two of steps with which the range has no more than so many buckets.
uint64_t width_for(uint64_t first, uint64_t last, uint64_t buckets) {
  uint64_t width = 1;
  while (last / width - first / width + 1 > buckets) width *= 2;
  return width;
}

struct Bucket {
  uint64_t step = 0;
  double sum = 0;
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  int values = 0;
};

void close(const Bucket& bucket, v1::MetricSeries& series) {
  if (bucket.values == 0) return;
  series.add_steps(bucket.step);
  // A mean of huge numbers must not become infinite.
  series.add_values(std::clamp(bucket.sum / bucket.values, bucket.low, bucket.high));
  series.add_low(bucket.low);
  series.add_high(bucket.high);
}

}  // namespace

absl::Status check_metrics_request(const v1::ReadMetricsRequest& request) {
  if (request.buckets() > kMostBuckets)
    return absl::InvalidArgumentError(absl::StrCat("buckets: ", request.buckets(), " is more than ", kMostBuckets));
  if (request.last_step() != 0 && request.last_step() < request.first_step()) {
    return absl::InvalidArgumentError(
        absl::StrCat("last_step: ", request.last_step(), " lies before first_step ", request.first_step()));
  }
  return absl::OkStatus();
}

size_t MetricSeries::add(absl::string_view text) {
  size_t taken = 0;
  for (size_t end = text.find('\n'); end != absl::string_view::npos; end = text.find('\n', taken)) {
    add_line(text.substr(taken, end - taken));
    taken = end + 1;
  }
  return taken;
}

void MetricSeries::add_line(absl::string_view line) {
  if (nested_too_deeply(line)) return;
  const Json json = Json::parse(line.begin(), line.end(), nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_unsigned()) return;
  const auto step = json["step"].get<uint64_t>();
  newest_step_ = std::max(newest_step_, step);
  const auto add_all = [&](const auto& self, const std::string& prefix, const Json& object) -> void {
    for (const auto& [key, value] : object.items()) {
      if (!is_key(key)) continue;
      const std::string name = prefix + key;
      if (value.is_object()) {
        self(self, name + ".", value);
      } else if (value.is_number()) {
        add_point(name, step, value.template get<double>());
      } else if (value.is_null() && name != "slowest_rank") {
        // As JSON has it where a number is not finite.
        add_point(name, step, std::nan(""));
      }
    }
  };
  add_all(add_all, "", json);
}

void MetricSeries::add_point(const std::string& name, uint64_t step, double value) {
  if (name == "step" || (series_.size() >= kMostSeries && !series_.contains(name))) return;
  std::vector<Point>& points = series_[name];
  while (!points.empty() && points.back().step >= step) {
    points.pop_back();
    --points_;
  }
  points.push_back({step, std::isfinite(value) ? value : std::nan("")});
  ++points_;
}

v1::ReadMetricsResponse MetricSeries::read(const v1::ReadMetricsRequest& request) const {
  v1::ReadMetricsResponse response;
  response.set_newest_step(newest_step_);
  const uint64_t first = request.first_step();
  const uint64_t last = request.last_step() == 0 ? newest_step_ : std::min(request.last_step(), newest_step_);
  const uint64_t most = request.buckets() == 0 ? kDefaultBuckets : request.buckets();
  const auto is_wanted = [&](const std::string& name) {
    return request.series().empty() ||
           std::find(request.series().begin(), request.series().end(), name) != request.series().end();
  };
  const auto range_of = [&](const std::vector<Point>& points) {
    const auto before = [](const Point& point, uint64_t step) { return point.step < step; };
    const auto begin = std::lower_bound(points.begin(), points.end(), first, before);
    return std::pair(begin, std::lower_bound(begin, points.end(), last + 1, before));
  };
  size_t longest = 0;
  for (const auto& [name, points] : series_) {
    if (!is_wanted(name)) continue;
    const auto [begin, end] = range_of(points);
    longest = std::max(longest, static_cast<size_t>(end - begin));
  }
  const uint64_t width = longest <= most || first > last ? 1 : width_for(first, last, most);
  response.set_bucket_steps(width);
  for (const auto& [name, points] : series_) {
    if (!is_wanted(name)) continue;
    const auto [begin, end] = range_of(points);
    if (begin == end) continue;
    v1::MetricSeries& series = *response.add_series();
    series.set_name(name);
    Bucket bucket;
    for (auto it = begin; it != end; ++it) {
      if (bucket.values > 0 && it->step / width != bucket.step / width) {
        close(bucket, series);
        bucket = Bucket();
      }
      if (std::isnan(it->value)) {
        series.set_not_finite(series.not_finite() + 1);
        if (series.not_finite_steps_size() < kMostNotFinite) series.add_not_finite_steps(it->step);
        continue;
      }
      bucket.step = it->step;
      bucket.sum += it->value;
      bucket.low = std::min(bucket.low, it->value);
      bucket.high = std::max(bucket.high, it->value);
      ++bucket.values;
    }
    close(bucket, series);
    if (std::equal(series.low().begin(), series.low().end(), series.high().begin())) {
      series.clear_low();
      series.clear_high();
    }
  }
  return response;
}

}  // namespace galleon::server

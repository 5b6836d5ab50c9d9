// How the figures of a run on a shared machine are formed: from pairs that were measured next to each other, so that a
// slow moment weighs on both sides of a ratio.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/check.h"

namespace galleon {

inline double median(std::vector<double> values) {
  GALLEON_CHECK(!values.empty()) << "the median of nothing";
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle), values.end());
  const double upper = values[middle];
  if (values.size() % 2 == 1) return upper;
  return 0.5 * (upper + *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle)));
}

// The median of a[i] / b[i].
inline double median_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  GALLEON_CHECK_EQ(a.size(), b.size());
  std::vector<double> ratios;
  ratios.reserve(a.size());
  for (size_t i = 0; i < a.size(); ++i) ratios.push_back(a[i] / b[i]);
  return median(std::move(ratios));
}

// The mean over an interval of which `special` steps have one value and all others another.
inline double interval_mean(double plain, double special_value, int64_t special, int64_t interval) {
  GALLEON_CHECK(special >= 0 && special <= interval && interval > 0) << special << " of " << interval;
  return plain + (special_value - plain) * static_cast<double>(special) / static_cast<double>(interval);
}

}  // namespace galleon

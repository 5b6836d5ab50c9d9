// What the tests of the kernels share: a fixture over every device that executes, operands with gaps between their
// rows, comparison with double precision, and gradients by differences of a double-precision forward.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/operands.h"

namespace galleon {

inline Values normal_values(int64_t count, uint64_t seed, double deviation = 1.0) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal(0.0, deviation);
  Values values(static_cast<size_t>(count));
  for (double& value : values) value = static_cast<float>(normal(generator));
  return values;
}

// The largest difference relative to the largest expected number; infinite if a number is not finite.
inline double relative_error(const Values& actual, const Values& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double difference = 0;
  double scale = 0;
  for (size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    if (!std::isfinite(actual[i])) return std::numeric_limits<double>::infinity();
    difference = std::max(difference, std::abs(actual[i] - expected[i]));
    scale = std::max(scale, std::abs(expected[i]));
  }
  return scale > 0 ? difference / scale : difference;
}

// "[3, 17] is 0.5 and not 0.25": the first element whose difference is beyond the bound, relative to the largest expected
// number; empty: there is none.
inline std::string first_beyond(const Values& actual, const Values& expected, int64_t columns, double bound) {
  double scale = 0;
  for (const double value : expected) scale = std::max(scale, std::abs(value));
  for (size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    if (std::abs(actual[i] - expected[i]) <= bound * std::max(scale, std::numeric_limits<double>::min())) continue;
    const auto place = static_cast<int64_t>(i);
    std::ostringstream text;
    text << "[" << place / columns << ", " << place % columns << "] is " << actual[i] << " and not " << expected[i];
    return text.str();
  }
  return "";
}

// Death tests run in a fresh process: a forked one would lack the threads of OpenMP.
inline void run_death_tests_afresh() {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
}

// The nearest numbers that bf16 holds.
inline Values bfloat16_values(Values values) {
  for (double& value : values)
    value = static_cast<double>(math::to_float(math::to_bfloat16(static_cast<float>(value))));
  return values;
}

class KernelTest : public testing::TestWithParam<Backend> {
 protected:
  KernelTest() : device_(GetParam().make(GetParam().threads)), operands_(*device_) {}
  void SetUp() override { run_death_tests_afresh(); }
  void TearDown() override { operands_.expect_untouched_gaps(); }

  Tensor tensor(const Values& values, int64_t rows, int64_t columns, Gaps gaps = false,
                DataType type = DataType::kFloat32) {
    return operands_.tensor(values, rows, columns, gaps, type);
  }
  Tensor empty(int64_t rows, int64_t columns, Gaps gaps = false, DataType type = DataType::kFloat32) {
    return operands_.empty(rows, columns, gaps, type);
  }
  Tensor integers(const std::vector<int32_t>& values) { return operands_.integers(values); }
  Values values_of(const Tensor& t) { return operands_.values_of(t); }
  std::vector<char> bytes_of_tensor(const Tensor& t) { return operands_.bytes_of_tensor(t); }
  void set_number(const Tensor& t, int64_t row, int64_t column, double value) {
    operands_.set_number(t, row, column, value);
  }

  std::unique_ptr<Device> device_;
  DeviceOperands operands_;
};

// Compares a gradient with central differences of `loss` (double precision, so that the differences themselves are good
// to about 1e-8) along random directions. The error is relative to the gradient's norm.
inline void expect_gradient(const char* what, const Values& point, const Values& gradient,
                            const std::function<double(const Values&)>& loss, double tolerance) {
  ASSERT_EQ(point.size(), gradient.size());
  double squares = 0;
  for (const double g : gradient) squares += g * g;
  const double norm = std::sqrt(squares);
  for (uint64_t direction = 0; direction < 4; ++direction) {
    const Values u = normal_values(static_cast<int64_t>(point.size()), 9000 + direction);
    const double h = 1e-5;
    Values ahead = point;
    Values behind = point;
    double slope = 0;
    for (size_t i = 0; i < point.size(); ++i) {
      ahead[i] += h * u[i];
      behind[i] -= h * u[i];
      slope += gradient[i] * u[i];
    }
    const double difference = (loss(ahead) - loss(behind)) / (2 * h);
    EXPECT_LE(std::abs(slope - difference), tolerance * norm + 1e-9)
        << what << ": the gradient gives " << slope << ", differences give " << difference;
  }
}

}  // namespace galleon

#define GALLEON_ON_EVERY_BACKEND(suite)                                      \
  INSTANTIATE_TEST_SUITE_P(Device, suite, testing::ValuesIn(all_backends()), \
                           [](const auto& instance) { return instance.param.name; })

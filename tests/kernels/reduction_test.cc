#include "kernels/ops/reduction.h"

#include "kernels/operation_table.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using ReductionTest = KernelTest;

constexpr int64_t kShapes[][2] = {{1, 1}, {3, 7}, {63, 65}, {2, 16384}, {3, 16385}, {5, 40000}};

TEST_P(ReductionTest, SumsAreThoseOfDoublePrecision) {
  for (const auto& [rows, n] : kShapes) {
    for (const bool gaps : {false, true}) {
      const Values x = normal_values(rows * n, 1);
      double sums = 0;
      double squares = 0;
      double rounded = 0;
      for (const double number : x) {
        sums += number;
        squares += number * number;
      }
      for (const double number : bfloat16_values(x)) rounded += number * number;
      const Tensor t = tensor(x, rows, n, gaps);
      // The order of sums in double is all that may differ.
      EXPECT_NEAR(sum(*device_, t), sums, 1e-12 * squares) << rows << "x" << n;
      EXPECT_NEAR(sum_of_squares(*device_, t), squares, 1e-12 * squares) << rows << "x" << n;
      const Tensor narrow = tensor(bfloat16_values(x), rows, n, gaps, DataType::kBFloat16);
      EXPECT_NEAR(sum_of_squares(*device_, narrow), rounded, 1e-12 * rounded) << rows << "x" << n;
      EXPECT_EQ(sum_of_squares(*device_, t), sum_of_squares(*device_, t)) << "bit for bit";
      const Tensor noted = operands_.zeros(1, 2 * sizeof(double), DataType::kUint8);
      note_sum_of_squares(*device_, t, noted.column_range(sizeof(double), sizeof(double)));
      double found[2] = {};
      device_->download(found, noted);
      EXPECT_EQ(found[0], 0.0);
      EXPECT_EQ(found[1], sum_of_squares(*device_, t));
    }
  }
}

TEST_P(ReductionTest, ANumberThatIsNotFiniteIsFoundWhereverItStands) {
  for (const int64_t at : {0, 1, 16384, 39999}) {
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
      Values x = normal_values(40000, 1);
      EXPECT_TRUE(all_finite(*device_, tensor(x, 4, 10000, true)));
      x[at] = bad;
      EXPECT_FALSE(all_finite(*device_, tensor(x, 4, 10000, true))) << at;
      EXPECT_FALSE(all_finite(*device_, tensor(x, 1, 40000))) << at;
    }
  }
}

TEST_P(ReductionTest, EveryDeviceHashesBytesAlikeForEveryLengthAndAddress) {
  const std::unique_ptr<Device> baseline = make_cpu_device_for("baseline", 1);
  DeviceOperands on_baseline(*baseline);
  constexpr int64_t kSize = 200000;
  std::vector<uint8_t> bytes(kSize);
  for (int64_t i = 0; i < kSize; ++i) bytes[i] = static_cast<uint8_t>(i * i % 251);
  const Tensor expected = on_baseline.zeros(1, kSize, DataType::kUint8);
  const Tensor actual = operands_.zeros(1, kSize, DataType::kUint8);
  baseline->upload(expected, bytes.data());
  device_->upload(actual, bytes.data());
  for (const int64_t length : {0, 1, 7, 8, 63, 64, 65, 500, 512, 513, 65535, 65536, 65537, 131072, 199000}) {
    for (const int64_t begin : {0, 8, 3}) {
      EXPECT_EQ(hash_bytes(*device_, actual.column_range(begin, length)),
                hash_bytes(*baseline, expected.column_range(begin, length)))
          << length << " from " << begin;
    }
  }
}

TEST_P(ReductionTest, TheFirstIdOutsideARangeIsNamedByItsPlace) {
  std::vector<int32_t> ids(5000, 7);
  const auto first = [&](int64_t low, int64_t high) {
    const Tensor t = integers(ids);
    return device_->operations().first_outside(device_->execution(), t.size(), t.i32(), low, high);
  };
  EXPECT_EQ(first(0, 8), -1);
  EXPECT_EQ(first(0, 7), 0);
  ids[4999] = 8;
  EXPECT_EQ(first(0, 8), 4999);
  ids[300] = -1;
  EXPECT_EQ(first(0, 8), 300);
  EXPECT_EQ(first(-1, 9), -1);
}

GALLEON_ON_EVERY_BACKEND(ReductionTest);

}  // namespace
}  // namespace galleon

#include "kernels/ops/weight_update.h"

#include "kernels/math/split_weight.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using WeightUpdateTest = KernelTest;

TEST_P(WeightUpdateTest, DenseAndProjectedUpdatesMatchDoublePrecision) {
  const int64_t shapes[][3] = {{1, 1, 1}, {5, 9, 2}, {65, 33, 8}, {300, 129, 32}, {129, 700, 64}};
  for (const auto& [rows, columns, rank] : shapes) {
    for (const double keep : {1.0, 0.875}) {
      for (const Gaps gaps : kEveryGaps) {
        const Values w = normal_values(rows * columns, 1);
        const Values u = normal_values(rows * rank, 2);
        const Values p = normal_values(columns * rank, 3, 0.1);
        const Values d = normal_values(rows * columns, 4);
        const float step = 0.03F;
        const Tensor projected = tensor(w, rows, columns, gaps);
        const Tensor dense = tensor(w, rows, columns, gaps);
        const WeightUpdate how{.step = step, .keep = static_cast<float>(keep)};
        apply_projected(*device_, projected, {}, tensor(u, rows, rank, gaps), tensor(p, columns, rank, gaps), how);
        apply_dense(*device_, dense, {}, tensor(d, rows, columns, gaps), how);
        Values expected_projected(w.size());
        Values expected_dense(w.size());
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < columns; ++j) {
            double back = 0;
            for (int64_t l = 0; l < rank; ++l) back += u[i * rank + l] * p[j * rank + l];
            expected_projected[i * columns + j] = (w[i * columns + j] - static_cast<double>(step) * back) * keep;
            expected_dense[i * columns + j] =
                (w[i * columns + j] - static_cast<double>(step) * d[i * columns + j]) * keep;
          }
        }
        EXPECT_LE(relative_error(values_of(projected), expected_projected), sum_bound(rank)) << rows << "x" << columns;
        EXPECT_LE(relative_error(values_of(dense), expected_dense), 4 * kRounding) << rows << "x" << columns;
      }
    }
  }
}

TEST_P(WeightUpdateTest, ABFloat16WeightWithoutAMasterIsRoundedUpAsOftenAsItIsNear) {
  // 1 + 2^-7 is the next number after 1 in bf16; each element should land on 1 + 2^-7 with probability 0.3.
  constexpr int64_t kRows = 100;
  constexpr int64_t kColumns = 401;
  const double step = 0.3 * 0x1p-7;
  const Tensor w = tensor(Values(kRows * kColumns, 1.0), kRows, kColumns, true, DataType::kBFloat16);
  const Tensor update = tensor(Values(kRows * kColumns, -1.0), kRows, kColumns);
  apply_dense(*device_, w, {}, update, {.step = static_cast<float>(step), .noise = 17});
  int64_t up = 0;
  for (const double value : values_of(w)) {
    ASSERT_TRUE(value == 1.0 || value == 1.0 + 0x1p-7) << value;
    up += value > 1.0 ? 1 : 0;
  }
  // Five standard deviations of a binomial count.
  EXPECT_NEAR(static_cast<double>(up) / (kRows * kColumns), 0.3, 5 * std::sqrt(0.3 * 0.7 / (kRows * kColumns)));
}

TEST_P(WeightUpdateTest, RoundingDependsOnTheElementAndTheSeedAndNotOnHowTheMatrixIsCut) {
  constexpr int64_t kRows = 37;
  constexpr int64_t kColumns = 65;
  const Values start = normal_values(kRows * kColumns, 3);
  const Values update = normal_values(kRows * kColumns, 4);
  const auto rounded = [&](uint64_t noise, int64_t cut) {
    const Tensor w = tensor(start, kRows, kColumns, false, DataType::kBFloat16);
    const Tensor u = tensor(update, kRows, kColumns);
    apply_dense(*device_, w.row_range(0, cut), {}, u.row_range(0, cut), {.step = 1e-3F, .noise = noise});
    apply_dense(*device_, w.row_range(cut, kRows - cut), {}, u.row_range(cut, kRows - cut),
                {.step = 1e-3F, .noise = noise, .first_row = cut});
    return values_of(w);
  };
  EXPECT_EQ(rounded(1, kRows), rounded(1, 11));
  EXPECT_NE(rounded(1, kRows), rounded(2, kRows));
}

TEST_P(WeightUpdateTest, RoundingHasTheSameBitsOnEveryDevice) {
  const std::unique_ptr<Device> baseline = make_cpu_device_for("baseline", 1);
  DeviceOperands on_baseline(*baseline);
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 1}, {5, 13}, {37, 64}, {3, 5000}}) {
    for (const Gaps gaps : kEveryGaps) {
      for (const bool with_master : {false, true}) {
        const auto run = [&](Device& device, DeviceOperands& operands) {
          const Values start = normal_values(rows * n, 1);
          const Tensor w = operands.tensor(start, rows, n, gaps, DataType::kBFloat16);
          const Tensor master = with_master ? operands.tensor(start, rows, n, gaps) : Tensor{};
          // The step is a power of two, so that a fused product has the same bits as one that is rounded first.
          apply_dense(device, w, master, operands.tensor(normal_values(rows * n, 2), rows, n, gaps),
                      {.step = 0x1p-9F, .keep = 0.99F, .noise = 12345, .first_row = 7});
          return operands.values_of(w);
        };
        EXPECT_EQ(run(*device_, operands_), run(*baseline, on_baseline)) << rows << "x" << n;
      }
    }
  }
}

TEST_P(WeightUpdateTest, SmallStepsThatNearestRoundingLosesMoveABFloat16WeightInTheMean) {
  // 200 steps of a 16th of the distance to the next number: to the nearest, nothing would ever move.
  constexpr int64_t kSize = 4096;
  const Tensor w = tensor(Values(kSize, 1.0), 1, kSize, false, DataType::kBFloat16);
  const Tensor update = tensor(Values(kSize, -1.0), 1, kSize);
  for (uint64_t step = 0; step < 200; ++step) apply_dense(*device_, w, {}, update, {.step = 0x1p-11F, .noise = step});
  double mean = 0;
  for (const double value : values_of(w)) mean += value / kSize;
  EXPECT_NEAR(mean, 1.0 + 200 * 0x1p-11, 0.002);
}

TEST_P(WeightUpdateTest, AMasterCopyIsUpdatedInFp32AndTheWeightIsItsNearestNumber) {
  const int64_t shapes[][3] = {{5, 9, 2}, {300, 129, 32}};
  for (const auto& [rows, columns, rank] : shapes) {
    const Values start = normal_values(rows * columns, 1);
    const Tensor plain = tensor(start, rows, columns);
    const Tensor master = tensor(start, rows, columns, true);
    const Tensor w = tensor(start, rows, columns, true, DataType::kBFloat16);
    const Tensor u = tensor(normal_values(rows * rank, 2), rows, rank);
    const Tensor p = tensor(normal_values(columns * rank, 3), columns, rank);
    const WeightUpdate how{.step = 0.01F, .keep = 0.99F};
    apply_projected(*device_, plain, {}, u, p, how);
    apply_projected(*device_, w, master, u, p, how);
    // Panels and one product add in another order.
    EXPECT_LE(relative_error(values_of(master), values_of(plain)), sum_bound(rank));
    Values nearest = values_of(master);
    for (double& value : nearest)
      value = static_cast<double>(math::to_float(math::to_bfloat16(static_cast<float>(value))));
    EXPECT_EQ(values_of(w), nearest);
  }
}

// A step of a 64th of the distance to the next bf16 number is lost without the eight bits behind it.
TEST_P(WeightUpdateTest, WeightsOf24BitsFollowDoublePrecisionWithinHalfAStepOfTheirs) {
  constexpr int kSteps = 100;
  const int64_t shapes[][3] = {{5, 9, 2}, {300, 129, 32}};
  for (const auto& [rows, columns, rank] : shapes) {
    for (const Gaps gaps : kEveryGaps) {
      const Values start = normal_values(rows * columns, 1);
      const Tensor w = tensor(start, rows, columns, gaps, DataType::kBFloat16);
      const Tensor remainder = operands_.zeros(rows, columns, DataType::kUint8);
      set_with_master(*device_, w, remainder, tensor(start, rows, columns));
      const Values update = normal_values(rows * columns, 2);
      const Tensor u = tensor(update, rows, columns, gaps);
      for (int i = 0; i < kSteps; ++i) apply_dense(*device_, w, remainder, u, {.step = 0x1p-15F});
      const Values halves = values_of(w);
      const Values behind = values_of(remainder);
      for (size_t i = 0; i < start.size(); ++i) {
        const BFloat16 half = math::to_bfloat16(static_cast<float>(halves[i]));
        const float whole = math::joined(half, static_cast<uint8_t>(behind[i]));
        double expected = start[i];
        double bound = std::abs(start[i]) * 0x1p-16;
        for (int k = 0; k < kSteps; ++k) {
          expected -= 0x1p-15 * update[i];
          bound += std::abs(expected) * 0x1.01p-16;
        }
        ASSERT_NEAR(static_cast<double>(whole), expected, bound) << i;
        ASSERT_NEAR(halves[i], static_cast<double>(whole), std::abs(static_cast<double>(whole)) * 0x1.01p-8) << i;
      }
      // And back from a subspace.
      const Tensor low = tensor(normal_values(rows * rank, 2), rows, rank);
      const Tensor p = tensor(normal_values(columns * rank, 3), columns, rank);
      set_with_master(*device_, w, remainder, tensor(start, rows, columns));
      const Tensor plain = tensor(start, rows, columns);
      apply_projected(*device_, w, remainder, low, p, {.step = 0.01F, .keep = 0.99F});
      apply_projected(*device_, plain, {}, low, p, {.step = 0.01F, .keep = 0.99F});
      Values joined = values_of(w);
      const Values after = values_of(remainder);
      for (size_t i = 0; i < joined.size(); ++i) {
        joined[i] = static_cast<double>(
            math::joined(math::to_bfloat16(static_cast<float>(joined[i])), static_cast<uint8_t>(after[i])));
      }
      EXPECT_LE(relative_error(joined, values_of(plain)), 0x1p-15 + sum_bound(rank));
    }
  }
}

TEST(SplitWeight, EveryOneComesBackFromItsHalves) {
  for (uint32_t upper = 0; upper < (1U << 24); ++upper) {
    const float x = math::from_bits(upper << 8);
    if (!std::isfinite(math::to_float(math::to_bfloat16(x)))) continue;
    BFloat16 half;
    uint8_t remainder = 0;
    math::split(x, half, remainder);
    ASSERT_EQ(math::bits_of(math::joined(half, remainder)), upper << 8);
  }
}

TEST(SplitWeight, IsTheNearestOf24BitsAndItsHalfTheNearestOf16) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    // Of all bits, and of those about a bf16 number, a tie and 0.
    const uint32_t chosen = i % 4 == 0   ? bits
                            : i % 4 == 1 ? (bits & 0xFFFF0000U)
                            : i % 4 == 2 ? bits | 0x8000U
                                         : bits >> 8;
    const float x = math::from_bits(chosen);
    BFloat16 half;
    uint8_t remainder = 0;
    math::split(x, half, remainder);
    const float whole = math::joined(half, remainder);
    if (!std::isfinite(x)) {
      ASSERT_EQ(std::isnan(x), std::isnan(whole));
      if (!std::isnan(x)) {
        ASSERT_EQ(whole, x);
      }
      continue;
    }
    if (!std::isfinite(math::to_float(math::to_bfloat16(x)))) continue;
    const double value = static_cast<double>(x);
    // Of numbers that are not normal, by the distance of those that are.
    const double size = std::max(std::abs(value), 0x1p-126);
    ASSERT_LE(std::abs(static_cast<double>(whole) - value), size * 0x1p-16) << x;
    ASSERT_LE(std::abs(static_cast<double>(math::to_float(half)) - static_cast<double>(whole)), size * 0x1p-8) << x;
    ASSERT_EQ(math::bits_of(x) >> 31, half.bits >> 15) << "the sign";
    BFloat16 again;
    uint8_t behind = 0;
    math::split(whole, again, behind);
    ASSERT_EQ(math::joined(again, behind), whole);
  }
}

TEST_P(WeightUpdateTest, AProjectedBFloat16UpdateIsTheFp32OneWithinOneRounding) {
  const int64_t shapes[][3] = {{1, 1, 1}, {65, 33, 8}, {129, 700, 64}, {1100, 600, 16}};
  for (const auto& [rows, columns, rank] : shapes) {
    const Values start = bfloat16_values(normal_values(rows * columns, 1));
    const Values u = bfloat16_values(normal_values(rows * rank, 2));
    const Values p = bfloat16_values(normal_values(columns * rank, 3));
    const Tensor exact = tensor(start, rows, columns);
    const Tensor w = tensor(start, rows, columns, true, DataType::kBFloat16);
    const WeightUpdate how{.step = 0.01F, .keep = 0.99F, .noise = 5};
    apply_projected(*device_, exact, {}, tensor(u, rows, rank), tensor(p, columns, rank), how);
    apply_projected(*device_, w, {}, tensor(u, rows, rank, true, DataType::kBFloat16),
                    tensor(p, columns, rank, true, DataType::kBFloat16), how);
    const Values actual = values_of(w);
    const Values expected = values_of(exact);
    for (size_t i = 0; i < actual.size(); ++i)
      ASSERT_NEAR(actual[i], expected[i], std::abs(expected[i]) * 0x1p-7 + 1e-5) << i;
  }
}

TEST_P(WeightUpdateTest, ADenseUpdateMayBeBFloat16) {
  const int64_t rows = 700;
  const int64_t columns = 1500;  // several panels
  const Values start = normal_values(rows * columns, 1);
  const Values update = bfloat16_values(normal_values(rows * columns, 2));
  const WeightUpdate how{.step = 0.01F, .keep = 0.99F, .noise = 3, .first_row = 5};
  for (const DataType type : {DataType::kFloat32, DataType::kBFloat16}) {
    const Tensor exact = tensor(start, rows, columns, false, type);
    const Tensor rounded = tensor(start, rows, columns, false, type);
    apply_dense(*device_, exact, {}, tensor(update, rows, columns), how);
    apply_dense(*device_, rounded, {}, tensor(update, rows, columns, true, DataType::kBFloat16), how);
    EXPECT_EQ(values_of(rounded), values_of(exact));
  }
}

GALLEON_ON_EVERY_BACKEND(WeightUpdateTest);

}  // namespace
}  // namespace galleon

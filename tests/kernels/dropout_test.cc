#include "kernels/ops/dropout.h"

#include "kernels/math/random.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using DropoutTest = KernelTest;

TEST_P(DropoutTest, AnElementIsKeptByItsNumberInTheStreamAloneAndScaledUp) {
  constexpr int64_t kShapes[][2] = {{1, 1}, {3, 7}, {5, 513}, {130, 200}, {2, 20000}};
  for (const DataType type : {DataType::kFloat32, DataType::kBFloat16}) {
    for (const auto& [rows, n] : kShapes) {
      for (const Gaps gaps : kEveryGaps) {
        // Counters, of four words each, begin at multiples of 16 bytes or do not.
        const DropoutMask mask{77, uint64_t{5} << 40, n % 4 == 0 ? 1000004 : 1000003, 0.3};
        const Values x = bfloat16_values(normal_values(rows * n, 1));
        const Tensor y = empty(rows, n, gaps, type);
        const Tensor in = tensor(x, rows, n, gaps, type);
        dropout(*device_, in, mask, y);
        Values expected(x.size());
        for (size_t i = 0; i < x.size(); ++i) {
          const uint64_t number = static_cast<uint64_t>(mask.first) + i;
          const uint32_t word = math::philox(mask.seed, number / 4, mask.stream).word[number % 4];
          if (word >= 0.3 * 0x1p32) expected[i] = static_cast<float>(x[i]) * static_cast<float>(1 / 0.7);
        }
        if (type == DataType::kBFloat16) expected = bfloat16_values(expected);
        EXPECT_EQ(values_of(y), expected) << rows << "x" << n;
        dropout(*device_, in, mask, in);
        EXPECT_EQ(values_of(in), expected) << "in place";
      }
    }
  }
}

TEST_P(DropoutTest, RowsCutIntoPiecesGetTheMaskOfTheWhole) {
  const Values x = normal_values(40 * 60, 1);
  const Tensor in = tensor(x, 40, 60);
  const Tensor whole = empty(40, 60);
  const Tensor pieces = empty(40, 60);
  dropout(*device_, in, {1, 2, 600, 0.5}, whole);
  dropout(*device_, in.row_range(0, 13), {1, 2, 600, 0.5}, pieces.row_range(0, 13));
  dropout(*device_, in.row_range(13, 27), {1, 2, 600 + 13 * 60, 0.5}, pieces.row_range(13, 27));
  EXPECT_EQ(values_of(pieces), values_of(whole));
}

TEST_P(DropoutTest, NumberedRowsGetTheMasksOfTheirNumbers) {
  for (const int64_t n : {60, 61}) {
    for (const Gaps gaps : kEveryGaps) {
      const Tensor ones = tensor(Values(static_cast<size_t>(90 * n), 1.0), 90, n);
      const Tensor whole = empty(90, n);
      dropout(*device_, ones, {1, 2, 600, 0.5}, whole);
      const std::vector<int32_t> numbers = {4, 5, 80, 0, 88, 17};
      const Tensor some = tensor(Values(static_cast<size_t>(6 * n), 1.0), 6, n, gaps);
      dropout(*device_, some, {1, 2, 600, 0.5, integers(numbers)}, some);
      for (int64_t row = 0; row < 6; ++row) {
        EXPECT_EQ(values_of(some.row_range(row, 1)), values_of(whole.row_range(numbers[row], 1))) << row;
      }
    }
  }
}

TEST_P(DropoutTest, TheKeptShareIsThatOfTheProbabilityAndStreamsAreIndependent) {
  constexpr int64_t kCount = 200000;
  const Tensor ones = tensor(Values(kCount, 1.0), 1, kCount);
  const Tensor a = empty(1, kCount);
  const Tensor b = empty(1, kCount);
  for (const double probability : {0.0, 0.05, 0.5, 0.9}) {
    dropout(*device_, ones, {3, 1, 0, probability}, a);
    dropout(*device_, ones, {3, 2, 0, probability}, b);
    const Values first = values_of(a);
    const Values second = values_of(b);
    double kept = 0;
    double both = 0;
    for (int64_t i = 0; i < kCount; ++i) {
      kept += first[i] != 0 ? 1 : 0;
      both += first[i] != 0 && second[i] != 0 ? 1 : 0;
    }
    const double share = 1 - probability;
    // Five standard deviations of a binomial count.
    EXPECT_NEAR(kept, share * kCount, 5 * std::sqrt(kCount * share * probability));
    EXPECT_NEAR(both, share * share * kCount, 5 * std::sqrt(kCount * share * share * (1 - share * share)));
  }
}

GALLEON_ON_EVERY_BACKEND(DropoutTest);

}  // namespace
}  // namespace galleon

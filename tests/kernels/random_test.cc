#include "kernels/math/random.h"

#include "kernels/ops/random.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using RandomTest = KernelTest;

TEST(Philox, GivesThePublishedKnownAnswers) {
  // The known-answer vectors of Random123 (Salmon et al. 2011) for Philox 4×32-10.
  const math::Philox zeros = math::philox(0, 0, 0);
  EXPECT_EQ(zeros.word[0], 0x6627e8d5U);
  EXPECT_EQ(zeros.word[1], 0xe169c58dU);
  EXPECT_EQ(zeros.word[2], 0xbc57ac4cU);
  EXPECT_EQ(zeros.word[3], 0x9b00dbd8U);
  const math::Philox ones = math::philox(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0});
  EXPECT_EQ(ones.word[0], 0x408f276dU);
  EXPECT_EQ(ones.word[1], 0x41c83b0eU);
  EXPECT_EQ(ones.word[2], 0xa20bc7c6U);
  EXPECT_EQ(ones.word[3], 0x6d5451fdU);
}

TEST(Formulas, ExponentialAndLogarithmAreGoodToTwoUlps) {
  for (double x = -87.2; x < 88.6; x += 0.00137) {
    const double expected = std::exp(static_cast<double>(static_cast<float>(x)));
    EXPECT_NEAR(math::exponential(static_cast<float>(x)), expected, 4 * kRounding * expected) << x;
  }
  for (double x = -87.3; x < 1e-4; x += 0.00137) {
    const double expected = std::exp(static_cast<double>(static_cast<float>(x)));
    EXPECT_NEAR(math::exponential_of_negative(static_cast<float>(x)), expected, 4 * kRounding * expected) << x;
  }
  EXPECT_EQ(math::exponential_of_negative(0.0F), 1.0F);
  EXPECT_EQ(math::exponential_of_negative(-87.31F), 0.0F);
  EXPECT_EQ(math::exponential_of_negative(-std::numeric_limits<float>::infinity()), 0.0F);
  EXPECT_TRUE(std::isnan(math::exponential_of_negative(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(math::exponential(-90.0F), 0.0F);
  EXPECT_EQ(math::exponential(-std::numeric_limits<float>::infinity()), 0.0F);
  EXPECT_EQ(math::exponential(std::numeric_limits<float>::infinity()), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(math::exponential(std::numeric_limits<float>::quiet_NaN())));
  for (double x = 1e-9; x < 1e9; x *= 1.0037) {
    const double expected = std::log(static_cast<double>(static_cast<float>(x)));
    EXPECT_NEAR(math::logarithm(static_cast<float>(x)), expected, 4 * kRounding * std::abs(expected) + 1e-7) << x;
  }
}

TEST_P(RandomTest, NumbersAreStandardNormal) {
  const int64_t size = 1 << 20;
  const Tensor t = empty(size, 1);
  fill_normal(*device_, t, 42, 7, 0, 0.0F, 1.0F);
  double moments[5] = {};
  double neighbours[4] = {};
  int64_t beyond[5] = {};
  const Values x = values_of(t);
  for (size_t i = 0; i < x.size(); ++i) {
    for (int p = 1; p <= 4; ++p) moments[p] += std::pow(x[i], p);
    for (size_t lag = 0; lag < 4; ++lag) neighbours[lag] += x[i] * x[(i + lag + 1) % x.size()];
    for (int limit = 1; limit <= 4; ++limit) beyond[limit] += std::abs(x[i]) > limit ? 1 : 0;
  }
  // Five standard deviations of each statistic.
  const double n = static_cast<double>(size);
  EXPECT_NEAR(moments[1] / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(moments[2] / n, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(moments[3] / n, 0, 5 * std::sqrt(15 / n));
  EXPECT_NEAR(moments[4] / n, 3, 5 * std::sqrt(96 / n));
  for (const double product : neighbours) EXPECT_NEAR(product / n, 0, 5 / std::sqrt(n));
  for (int limit = 1; limit <= 4; ++limit) {
    const double p = std::erfc(limit / std::sqrt(2.0));
    EXPECT_NEAR(static_cast<double>(beyond[limit]), n * p, 5 * std::sqrt(n * p)) << limit;
  }
}

TEST_P(RandomTest, AnyCutIntoPiecesGivesTheSameBitsOnEveryInstructionSet) {
  const std::unique_ptr<Device> baseline = make_cpu_device_for("baseline", 1);
  const int64_t size = 30011;
  DeviceOperands on_baseline(*baseline);
  const Tensor whole = on_baseline.empty(size, 1);
  const Tensor aligned = empty(size, 1);
  fill_normal(*baseline, whole, 1234567890123, 3, 8, 1.5F, 0.02F);
  fill_normal(*device_, aligned, 1234567890123, 3, 8, 1.5F, 0.02F);
  EXPECT_EQ(values_of(aligned), on_baseline.values_of(whole)) << "counters begin at multiples of 16 bytes";
  fill_normal(*baseline, whole, 1234567890123, 3, 5, 1.5F, 0.02F);
  const Tensor pieces = empty(size, 1);
  const int64_t cuts[] = {0, 1, 2, 7, 260, 9000, 9001, 20000, size};
  for (size_t i = 0; i + 1 < std::size(cuts); ++i) {
    fill_normal(*device_, pieces.row_range(cuts[i], cuts[i + 1] - cuts[i]), 1234567890123, 3, 5 + cuts[i], 1.5F, 0.02F);
  }
  const Values expected = on_baseline.values_of(whole);
  EXPECT_EQ(values_of(pieces), expected);
  const Tensor other = empty(size, 1);
  fill_normal(*device_, other, 1234567890123, 4, 5, 1.5F, 0.02F);
  EXPECT_NE(values_of(other), expected) << "another stream";
  fill_normal(*device_, other, 1234567890124, 3, 5, 1.5F, 0.02F);
  EXPECT_NE(values_of(other), expected) << "another seed";
}

GALLEON_ON_EVERY_BACKEND(RandomTest);

}  // namespace
}  // namespace galleon

#include "kernels/ops/optimizer.h"
#include "kernels/ops/reduction.h"

#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using OptimizerTest = KernelTest;

TEST_P(OptimizerTest, AdamFollowsTheReferenceRuleOverManySteps) {
  for (const int64_t size : {1, 15, 1000, 20001}) {
    AdamRule rule;
    rule.gradient_scale = 0.5F;
    const Tensor m = tensor(Values(static_cast<size_t>(size)), size, 1);
    const Tensor v = tensor(Values(static_cast<size_t>(size)), size, 1);
    Values em(static_cast<size_t>(size));
    Values ev(static_cast<size_t>(size));
    for (uint64_t step = 0; step < 20; ++step) {
      const Values gradient = normal_values(size, step, 0.01);
      const Tensor r = tensor(gradient, size, 1);
      adam_update(*device_, rule, r, m, v);
      Values expected(static_cast<size_t>(size));
      for (size_t i = 0; i < expected.size(); ++i) {
        const double g = gradient[i] * 0.5;
        em[i] = static_cast<double>(rule.beta1) * em[i] + (1 - static_cast<double>(rule.beta1)) * g;
        ev[i] = static_cast<double>(rule.beta2) * ev[i] + (1 - static_cast<double>(rule.beta2)) * g * g;
        expected[i] = em[i] / (std::sqrt(ev[i]) + static_cast<double>(rule.epsilon));
      }
      // Each step adds a few roundings to m and v; their older ones decay.
      EXPECT_LE(relative_error(values_of(r), expected), 64 * kRounding) << size << " step " << step;
      EXPECT_LE(relative_error(values_of(m), em), 32 * kRounding);
      EXPECT_LE(relative_error(values_of(v), ev), 32 * kRounding);
    }
  }
}

TEST_P(OptimizerTest, SumsAreDoubleAndIndependentOfThreads) {
  const std::unique_ptr<Device> one = GetParam().make(1);
  DeviceOperands on_one(*one);
  const int64_t shapes[][2] = {{1, 1}, {7, 5}, {1, 100001}, {3, 40000}};
  for (const auto& [rows, n] : shapes) {
    for (const Gaps gaps : kEveryGaps) {
      Values x = normal_values(rows * n, 1);
      for (double& value : x) value += 100;
      const Tensor t = tensor(x, rows, n, gaps);
      double total = 0;
      double squares = 0;
      for (const double value : x) {
        const double rounded = static_cast<float>(value);
        total += rounded;
        squares += rounded * rounded;
      }
      EXPECT_NEAR(sum(*device_, t), total, 1e-12 * total);
      EXPECT_NEAR(sum_of_squares(*device_, t), squares, 1e-12 * squares);
      const Tensor same = on_one.tensor(x, rows, n, gaps);
      EXPECT_EQ(sum(*device_, t), sum(*one, same));
      EXPECT_EQ(sum_of_squares(*device_, t), sum_of_squares(*one, same));
    }
  }
}

TEST_P(OptimizerTest, OneNumberThatIsNotFiniteIsFoundAnywhere) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()}) {
    for (const int64_t at : {0, 1, 16384, 39999, 50000}) {
      const Tensor t = tensor(normal_values(50001, 1), 1, 50001);
      set_number(t, 0, 1, static_cast<double>(std::numeric_limits<float>::max()));
      EXPECT_TRUE(all_finite(*device_, t));
      set_number(t, 0, at, bad);
      EXPECT_FALSE(all_finite(*device_, t)) << at;
    }
  }
}

TEST_P(OptimizerTest, HashSeesEveryBitTheOrderAndTheLength) {
  const std::unique_ptr<Device> baseline = make_cpu_device_for("baseline", 1);
  DeviceOperands on_baseline(*baseline);
  for (const int64_t size : {1, 2, 15, 16, 17, 16384, 16385, 50001}) {
    const Values drawn = normal_values(size, 1);
    std::vector<float> numbers(drawn.begin(), drawn.end());
    const Tensor t = tensor(drawn, size, 1);
    const uint64_t hash = hash_bytes(*device_, t);
    EXPECT_EQ(hash, hash_bytes(*baseline, on_baseline.tensor(drawn, size, 1))) << "on every device";
    EXPECT_EQ(hash, hash_bytes(*device_, t.reshape(1, size)));
    for (const int64_t at : {int64_t{0}, size / 2, size - 1}) {
      for (const uint32_t bit : {0U, 13U, 31U}) {
        std::vector<float> changed = numbers;
        changed[at] = math::from_bits(math::bits_of(numbers[at]) ^ (1U << bit));
        device_->upload(t, changed.data());
        EXPECT_NE(hash_bytes(*device_, t), hash) << size << " at " << at << " bit " << bit;
      }
    }
    if (size > 1) {
      device_->upload(t, numbers.data());
      EXPECT_NE(hash_bytes(*device_, t.row_range(0, size - 1)), hash);
      std::swap(numbers.front(), numbers.back());
      device_->upload(t, numbers.data());
      EXPECT_NE(hash_bytes(*device_, t), hash) << "two numbers swapped";
    }
  }
  EXPECT_NE(hash_bytes(*device_, tensor(Values(16), 16, 1)), hash_bytes(*device_, tensor(Values(17), 17, 1)));
}

GALLEON_ON_EVERY_BACKEND(OptimizerTest);

}  // namespace
}  // namespace galleon

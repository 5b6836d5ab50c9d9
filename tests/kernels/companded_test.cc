// Companded codes of moments against double precision, and Adam's update from them.
#include "kernels/ops/companded.h"
#include "kernels/math/companded8.h"
#include "kernels/ops/optimizer.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

constexpr int64_t kGroup = math::kCompandedGroup;

class CompandedTest : public KernelTest {
 protected:
  CodedMoment coded(int64_t size) { return coded(operands_, size); }
  static CodedMoment coded(DeviceOperands& operands, int64_t size) {
    return {operands.zeros(size, 1, DataType::kUint8),
            operands.zeros((size + kGroup - 1) / kGroup, 1, DataType::kUint16)};
  }
  Values decoded(bool is_first, const CodedMoment& moment) {
    const Tensor numbers = empty(moment.codes.rows, 1);
    decode_companded(*device_, is_first, moment, numbers);
    return values_of(numbers);
  }
  void expect_bounds(bool is_first, const Values& x, const Values& back, const Values& scales);
};

// Groups of all sizes that a moment has, each of numbers over some decades.
Values many_sizes(int64_t size, bool is_first, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> decade(-10, 3);
  Values x = normal_values(size, seed);
  double group = 1;
  for (int64_t i = 0; i < size; ++i) {
    if (i % kGroup == 0) group = std::pow(10.0, decade(random));
    x[i] = static_cast<float>(x[i] * std::abs(x[i]) * group);
    if (!is_first) x[i] = static_cast<float>(x[i] * x[i]);
  }
  return x;
}

// The distance of what half a step of the code before or behind becomes: worst case by the inverse of the softsign.
double first_bound(double x) {
  const double bent = std::min(1.0, 2 * x / (1 + x));
  const double up = std::min(1.0, bent + 0.5 / 127);
  return up / (2 - up) - bent / (2 - bent);
}

void CompandedTest::expect_bounds(bool is_first, const Values& x, const Values& back, const Values& scales) {
  // Roundings of fp32 on the way.
  constexpr double kRest = 1e-6;
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t begin = i - i % static_cast<size_t>(kGroup);
    double largest = 0;
    for (size_t k = begin; k < std::min(x.size(), begin + static_cast<size_t>(kGroup)); ++k)
      largest = std::max(largest, is_first ? std::abs(x[k]) : std::sqrt(x[k]));
    const double scale =
        static_cast<double>(math::scale16_value(static_cast<uint16_t>(scales[i / static_cast<size_t>(kGroup)])));
    // A scale has ten bits; where it is rounded down the largest number is cut to it.
    ASSERT_NEAR(scale, largest, largest * 0x1.01p-11);
    if (is_first) {
      const double share = std::min(1.0, std::abs(x[i]) / scale);
      const double cut = std::max(0.0, std::abs(x[i]) - scale);
      ASSERT_LE(std::abs(back[i] - x[i]), scale * (first_bound(share) + kRest) + cut) << i;
    } else {
      const double root = std::sqrt(x[i]);
      const double step = root < scale / 255 ? scale / 255 : scale / 510 + std::max(0.0, root - scale);
      ASSERT_LE(std::abs(std::sqrt(back[i]) - root), step + kRest * scale) << i;
      ASSERT_EQ(back[i] > 0, x[i] > 0) << "what is not 0 does not become 0";
    }
  }
}

TEST_P(CompandedTest, EveryNumberOfAGroupComesBackWithinHalfAStep) {
  for (const bool is_first : {true, false}) {
    for (const int64_t size : {1, 31, 32, 33, 1000, 20001}) {
      const Values x = many_sizes(size, is_first, 5);
      const CodedMoment moment = coded(size);
      encode_companded(*device_, is_first, tensor(x, size, 1), moment);
      expect_bounds(is_first, x, decoded(is_first, moment), values_of(moment.scales));
    }
  }
}

TEST_P(CompandedTest, GroupsOfZerosStayZerosAndNumbersTooLargeAreInfinite) {
  for (const bool is_first : {true, false}) {
    Values x(96, 0.0);
    for (int64_t i = 64; i < 96; ++i) x[i] = 1e30;
    const CodedMoment moment = coded(96);
    encode_companded(*device_, is_first, tensor(x, 96, 1), moment);
    const Values back = decoded(is_first, moment);
    for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(back[i], 0.0);
    for (int64_t i = 64; i < 96; ++i) EXPECT_FALSE(std::isfinite(back[i]));
  }
}

TEST_P(CompandedTest, AdamUpdatesFromDecodedMomentsAndCodesTheNewOnes) {
  AdamRule rule;
  rule.epsilon = 1e-8F;
  rule.gradient_scale = 0.5F;
  for (const int64_t size : {1, 63, 5000, 20001}) {
    const CodedMoment m = coded(size);
    const CodedMoment v = coded(size);
    Values old_m(static_cast<size_t>(size));
    Values old_v(static_cast<size_t>(size));
    for (uint64_t step = 0; step < 4; ++step) {
      const Values gradient = normal_values(size, step, 0.01);
      const Tensor r = tensor(gradient, size, 1);
      companded_adam_update(*device_, rule, r, m, v);
      Values expected(static_cast<size_t>(size));
      Values new_m(static_cast<size_t>(size));
      Values new_v(static_cast<size_t>(size));
      for (size_t i = 0; i < expected.size(); ++i) {
        const double g = gradient[i] * 0.5;
        new_m[i] = static_cast<double>(rule.beta1) * old_m[i] + (1 - static_cast<double>(rule.beta1)) * g;
        new_v[i] = static_cast<double>(rule.beta2) * old_v[i] + (1 - static_cast<double>(rule.beta2)) * g * g;
        expected[i] = new_m[i] / (std::sqrt(new_v[i]) + static_cast<double>(rule.epsilon));
      }
      // The update comes from moments that are not coded yet: a few roundings.
      EXPECT_LE(relative_error(values_of(r), expected), 64 * kRounding) << size << " step " << step;
      old_m = decoded(true, m);
      old_v = decoded(false, v);
      expect_bounds(true, new_m, old_m, values_of(m.scales));
      expect_bounds(false, new_v, old_v, values_of(v.scales));
    }
  }
}

// Neither a code that is not quite 0 nor a second moment that was rounded to 0 is ever divided by ε alone.
TEST_P(CompandedTest, WhatHasNoGradientStaysAndWhatHasALittleMovesAsFarAsTheRest) {
  AdamRule rule;
  rule.epsilon = 1e-8F;
  constexpr int64_t kSize = 64;
  const CodedMoment m = coded(kSize);
  const CodedMoment v = coded(kSize);
  for (uint64_t step = 1; step <= 200; ++step) {
    // Gradients that change their sign leave small first moments, beside which those that keep it have a code. Their
    // second moment has none: its root is a thousandth of the group's. Now and then they are 0.
    Values gradient(kSize, step % 2 == 0 ? 1.0 : -1.0);
    for (int64_t i = 0; i < kSize; i += 4) gradient[i] = 0;
    for (int64_t i = 1; i < kSize; i += 4) gradient[i] = step % 5 == 0 ? 0 : 1e-3;
    const Tensor r = tensor(gradient, kSize, 1);
    companded_adam_update(*device_, rule, r, m, v);
    const Values update = values_of(r);
    const double correction = std::sqrt(1 - std::pow(static_cast<double>(rule.beta2), static_cast<double>(step))) /
                              (1 - std::pow(static_cast<double>(rule.beta1), static_cast<double>(step)));
    for (int64_t i = 0; i < kSize; ++i) {
      if (i % 4 == 0) {
        ASSERT_EQ(update[i], 0.0) << "step " << step;
      }
      ASSERT_LE(std::abs(update[i] * correction), 12.0) << "step " << step << " at " << i;
    }
  }
}

// Nine tenths of a small first moment have the code of the whole, in a group that others keep alive.
TEST_P(CompandedTest, WhatGetsNoGradientAnyMoreComesToRest) {
  constexpr int64_t kSize = 64;
  const AdamRule rule;
  const CodedMoment m = coded(kSize);
  const CodedMoment v = coded(kSize);
  Values update;
  for (uint64_t step = 1; step <= 120; ++step) {
    Values gradient = normal_values(kSize, step);
    for (int64_t i = 0; i < kSize; ++i) gradient[i] = i % 2 == 1 || step <= 40 ? gradient[i] + 0.5 : 0.0;
    const Tensor r = tensor(gradient, kSize, 1);
    companded_adam_update(*device_, rule, r, m, v);
    update = values_of(r);
  }
  for (int64_t i = 0; i < kSize; i += 2) {
    EXPECT_EQ(update[i], 0.0) << i;
    EXPECT_NE(update[i + 1], 0.0) << i + 1;
  }
}

// As the rows of an embedding whose words do not occur: what was seen goes on as it would in fp32.
TEST_P(CompandedTest, AGroupWithoutGradientsCoastsAsInDoublePrecision) {
  constexpr int64_t kSize = 64;
  const AdamRule rule;
  const CodedMoment m = coded(kSize);
  const CodedMoment v = coded(kSize);
  companded_adam_update(*device_, rule, tensor(normal_values(kSize, 3), kSize, 1), m, v);
  const Values before = decoded(true, m);
  constexpr int kSteps = 20;
  for (int i = 0; i < kSteps; ++i) companded_adam_update(*device_, rule, tensor(Values(kSize), kSize, 1), m, v);
  const Values after = decoded(true, m);
  const double decay = std::pow(static_cast<double>(rule.beta1), kSteps);
  // Twenty roundings of a scale to ten bits.
  for (int64_t i = 0; i < kSize; ++i) EXPECT_NEAR(after[i], decay * before[i], 0.01 * std::abs(decay * before[i])) << i;
}

// Eight bits would round a decay of one in two thousand away, step after step.
TEST_P(CompandedTest, MomentsWithoutGradientsDecay) {
  constexpr int64_t kSize = 64;
  constexpr int kSteps = 600;
  const AdamRule rule;
  const CodedMoment m = coded(kSize);
  const CodedMoment v = coded(kSize);
  companded_adam_update(*device_, rule, tensor(normal_values(kSize, 3), kSize, 1), m, v);
  const Values before = decoded(false, v);
  for (int i = 0; i < kSteps; ++i) companded_adam_update(*device_, rule, tensor(Values(kSize), kSize, 1), m, v);
  const Values after = decoded(false, v);
  // Of a root's scale, whose decay is 1.02 of its distance to the next number or half of that, by its place.
  const double exact = std::pow(static_cast<double>(rule.beta2), kSteps);
  for (int64_t i = 0; i < kSize; ++i) {
    EXPECT_LT(after[i], 1.2 * exact * before[i]);
    EXPECT_GT(after[i], 0.5 * exact * before[i]);
  }
}

TEST_P(CompandedTest, CodesAreTheSameOnEveryDeviceAndInPieces) {
  const std::unique_ptr<Device> baseline = make_cpu_device_for("baseline", 1);
  DeviceOperands there(*baseline);
  for (const int64_t size : {31, 165, 20003}) {
    const CodedMoment m[2] = {coded(there, size), coded(size)};
    const CodedMoment v[2] = {coded(there, size), coded(size)};
    for (uint64_t step = 0; step < 3; ++step) {
      const Values gradient = normal_values(size, step);
      const Tensor whole = there.tensor(gradient, size, 1);
      const Tensor cut = tensor(gradient, size, 1);
      companded_adam_update(*baseline, AdamRule(), whole, m[0], v[0]);
      for (int64_t begin = 0; begin < size; begin += 3 * kGroup) {
        const int64_t count = std::min(3 * kGroup, size - begin);
        const int64_t groups = (count + kGroup - 1) / kGroup;
        const auto part = [&](const CodedMoment& all) {
          return CodedMoment{all.codes.row_range(begin, count), all.scales.row_range(begin / kGroup, groups)};
        };
        companded_adam_update(*device_, AdamRule(), cut.row_range(begin, count), part(m[1]), part(v[1]));
      }
      EXPECT_EQ(values_of(cut), there.values_of(whole));
    }
    for (const auto& pair : {m, v}) {
      EXPECT_EQ(values_of(pair[1].codes), there.values_of(pair[0].codes));
      EXPECT_EQ(values_of(pair[1].scales), there.values_of(pair[0].scales));
    }
    for (const bool is_first : {true, false}) {
      const Values x = many_sizes(size, is_first, 9);
      const CodedMoment own = coded(size);
      const CodedMoment other = coded(there, size);
      encode_companded(*device_, is_first, tensor(x, size, 1), own);
      encode_companded(*baseline, is_first, there.tensor(x, size, 1), other);
      EXPECT_EQ(values_of(own.codes), there.values_of(other.codes));
      EXPECT_EQ(values_of(own.scales), there.values_of(other.scales));
      const Tensor there_decoded = there.empty(size, 1);
      decode_companded(*baseline, is_first, other, there_decoded);
      EXPECT_EQ(decoded(is_first, own), there.values_of(there_decoded));
    }
  }
}

GALLEON_ON_EVERY_BACKEND(CompandedTest);

TEST(ShortScale, EveryOneIsTheNearestToItsValueAndInOrder) {
  for (int code = 1; code < math::kScaleInfinity; ++code) {
    const float value = math::scale16_value(static_cast<uint16_t>(code));
    const float before = math::scale16_value(static_cast<uint16_t>(code - 1));
    ASSERT_LT(before, value);
    ASSERT_EQ(math::scale16(value), code);
    ASSERT_EQ(math::scale16(value * 1.0001F), code);
  }
  EXPECT_EQ(math::scale16(0.0F), 0);
  EXPECT_EQ(math::scale16(1e-30F), 1) << "what is not 0 does not become 0";
  EXPECT_EQ(math::scale16(131072.0F), math::kScaleInfinity);
  EXPECT_EQ(math::scale16(INFINITY), math::kScaleInfinity);
  EXPECT_NEAR(math::scale16_value(1), 0x1p-47F, 1e-17F);
  EXPECT_EQ(math::scale16_value(65534), 130944.0F);
}

}  // namespace
}  // namespace galleon

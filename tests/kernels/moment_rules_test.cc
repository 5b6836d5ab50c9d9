// Moment rules beyond AdamW against double precision, and the codes of moments and bases.
#include "kernels/math/dynamic8.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/quantize.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

class MomentRulesTest : public KernelTest {
 protected:
  CodedMoment coded(int64_t size, int64_t block) { return coded(operands_, size, block); }
  static CodedMoment coded(DeviceOperands& operands, int64_t size, int64_t block) {
    return {operands.zeros(size, 1, DataType::kUint8),
            operands.zeros((size + block - 1) / block, 1, DataType::kFloat32)};
  }
};

double value_of(bool is_signed, int code) {
  return static_cast<double>(is_signed ? math::kDynamic8<true>.value[code] : math::kDynamic8<false>.value[code]);
}

TEST(Dynamic8, CodesAreInTheOrderOfTheirValuesWhichAreThoseOfTheField) {
  for (const bool is_signed : {true, false}) {
    for (int code = 1; code < 256; ++code) EXPECT_LT(value_of(is_signed, code - 1), value_of(is_signed, code)) << code;
    EXPECT_EQ(value_of(is_signed, 255), 1.0);
    EXPECT_EQ(value_of(is_signed, is_signed ? math::kDynamicZero : 0), 0.0);
  }
  // The ends of the maps as they are published: the largest and the smallest centres.
  EXPECT_NEAR(value_of(true, 254), 0.1 + 0.9 * 63.5 / 64, 1e-7);
  EXPECT_NEAR(value_of(true, 0), -(0.1 + 0.9 * 63.5 / 64), 1e-7);
  EXPECT_NEAR(value_of(true, 128), 5.5e-7, 1e-13);
  EXPECT_NEAR(value_of(false, 254), 0.1 + 0.9 * 127.5 / 128, 1e-7);
  EXPECT_NEAR(value_of(false, 1), 3.25e-7, 1e-13);
}

TEST_P(MomentRulesTest, EveryNumberGetsTheNearestCode) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> exponent(-8, 0);
  for (const bool is_signed : {true, false}) {
    for (const int64_t size : {1, 63, 256, 257, 20001}) {
      Values x(static_cast<size_t>(size));
      for (double& value : x) {
        value = static_cast<float>(std::pow(10.0, exponent(random)));
        if (is_signed && random() % 2 == 0) value = -value;
      }
      x[0] = 1.0;  // so that the scale is 1
      const CodedMoment moment = coded(size, size);
      encode_moment(*device_, is_signed, size, tensor(x, size, 1), moment);
      EXPECT_EQ(values_of(moment.scales)[0], 1.0);
      const Values codes = values_of(moment.codes);
      for (int64_t i = 0; i < size; ++i) {
        const int code = static_cast<int>(codes[i]);
        const double error = std::abs(value_of(is_signed, code) - x[i]);
        double nearest = 1;
        for (int other = 0; other < 256; ++other)
          nearest = std::min(nearest, std::abs(value_of(is_signed, other) - x[i]));
        // A negative number keeps its sign, so that the smallest of them are not coded by 0.
        const bool kept_sign = is_signed && x[i] < 0 && code == math::kDynamicZero - 1;
        EXPECT_TRUE(kept_sign || error <= nearest + 5e-7 * std::abs(x[i])) << x[i] << " by " << code;
        EXPECT_EQ(is_signed && x[i] < 0, value_of(is_signed, code) < 0) << x[i];
      }
    }
  }
}

TEST_P(MomentRulesTest, BlocksHaveTheirOwnScalesAndZerosStayZeros) {
  for (const int64_t block : {64, 256, 2048}) {
    for (const int64_t size : {block - 1, 3 * block + 5}) {
      Values x = normal_values(size, 7);
      for (int64_t i = 0; i < size; ++i) x[i] = static_cast<float>(x[i] * std::pow(1000.0, i / block));
      for (int64_t i = 0; i < std::min<int64_t>(block, size); ++i) x[i] = 0;
      for (const bool is_signed : {true, false}) {
        Values input = x;
        if (!is_signed) std::transform(input.begin(), input.end(), input.begin(), [](double v) { return std::abs(v); });
        const CodedMoment moment = coded(size, block);
        encode_moment(*device_, is_signed, block, tensor(input, size, 1), moment);
        const Tensor decoded = empty(size, 1);
        decode_moment(*device_, is_signed, block, moment, decoded);
        const Values scales = values_of(moment.scales);
        const Values back = values_of(decoded);
        for (int64_t begin = 0; begin < size; begin += block) {
          double largest = 0;
          for (int64_t i = begin; i < std::min(begin + block, size); ++i)
            largest = std::max(largest, std::abs(input[i]));
          EXPECT_EQ(scales[begin / block], largest);
          // Codes of the highest decade are 0.9/64 apart; below it they are never farther.
          for (int64_t i = begin; i < std::min(begin + block, size); ++i)
            EXPECT_LE(std::abs(back[i] - input[i]), 0.0071 * largest) << i;
        }
      }
    }
  }
}

TEST_P(MomentRulesTest, EightBitAdamUpdatesFromDecodedMomentsAndCodesTheNewOnes) {
  AdamRule rule;
  rule.epsilon = 1e-8F;
  rule.gradient_scale = 0.5F;
  for (const int64_t block : {64, 256, 2048}) {
    for (const int64_t size : {1, 255, 5000, 20001}) {
      const CodedMoment m = coded(size, block);
      const CodedMoment v = coded(size, block);
      Values old_m(static_cast<size_t>(size));
      Values old_v(static_cast<size_t>(size));
      for (uint64_t step = 0; step < 4; ++step) {
        const Values gradient = normal_values(size, step, 0.01);
        const Tensor r = tensor(gradient, size, 1);
        adam8bit_update(*device_, rule, block, r, m, v);
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
        const Tensor kept_m = empty(size, 1);
        const Tensor kept_v = empty(size, 1);
        decode_moment(*device_, true, block, m, kept_m);
        decode_moment(*device_, false, block, v, kept_v);
        old_m = values_of(kept_m);
        old_v = values_of(kept_v);
        EXPECT_LE(relative_error(old_m, new_m), 0.0071);
        EXPECT_LE(relative_error(old_v, new_v), 0.0036);
      }
    }
  }
}

TEST_P(MomentRulesTest, CodesOfMomentsAreTheSameOnEveryDevice) {
  const std::unique_ptr<Device> baseline = make_cpu_device_for("baseline", 1);
  DeviceOperands there(*baseline);
  for (const int64_t block : {1, 7, 30, 64, 256, 2048, 4096}) {
    for (const int64_t size : {block - 1, 5 * block + 3}) {
      if (size == 0) continue;
      for (const bool is_signed : {false, true}) {
        Values x = normal_values(size, 11);
        for (double& value : x) value = is_signed ? value : std::abs(value);
        const CodedMoment own = coded(size, block);
        const CodedMoment other = coded(there, size, block);
        encode_moment(*device_, is_signed, block, tensor(x, size, 1), own);
        encode_moment(*baseline, is_signed, block, there.tensor(x, size, 1), other);
        EXPECT_EQ(values_of(own.codes), there.values_of(other.codes)) << block << " " << size;
        EXPECT_EQ(values_of(own.scales), there.values_of(other.scales));
        const Tensor decoded = empty(size, 1);
        const Tensor also_decoded = there.empty(size, 1);
        decode_moment(*device_, is_signed, block, own, decoded);
        decode_moment(*baseline, is_signed, block, other, also_decoded);
        EXPECT_EQ(values_of(decoded), there.values_of(also_decoded));
      }
    }
  }
}

class CodedUpdateTest : public MomentRulesTest {
 protected:
  void expect_same_codes(int64_t block, int64_t size);
};

void CodedUpdateTest::expect_same_codes(int64_t block, int64_t size) {
  const std::unique_ptr<Device> baseline = make_cpu_device_for("baseline", 1);
  DeviceOperands there(*baseline);
  const CodedMoment m[2] = {coded(there, size, block), coded(size, block)};
  const CodedMoment v[2] = {coded(there, size, block), coded(size, block)};
  for (uint64_t step = 0; step < 3; ++step) {
    const Values gradient = normal_values(size, step);
    const Tensor whole = there.tensor(gradient, size, 1);
    const Tensor cut = tensor(gradient, size, 1);
    adam8bit_update(*baseline, AdamRule(), block, whole, m[0], v[0]);
    for (int64_t begin = 0; begin < size; begin += 24 * block) {
      const int64_t count = std::min(24 * block, size - begin);
      const int64_t blocks = (count + block - 1) / block;
      auto part = [&](const CodedMoment& moment) {
        return CodedMoment{moment.codes.row_range(begin, count), moment.scales.row_range(begin / block, blocks)};
      };
      adam8bit_update(*device_, AdamRule(), block, cut.row_range(begin, count), part(m[1]), part(v[1]));
    }
    EXPECT_EQ(there.values_of(whole), values_of(cut));
  }
  for (const auto& pair : {std::pair(m[0], m[1]), std::pair(v[0], v[1])}) {
    EXPECT_EQ(there.values_of(pair.first.codes), values_of(pair.second.codes));
    EXPECT_EQ(there.values_of(pair.first.scales), values_of(pair.second.scales));
  }
}

TEST_P(CodedUpdateTest, EightBitCodesAreTheSameOnEveryDeviceAndForEveryCut) {
  expect_same_codes(256, 64 * 256 + 17);
  for (const int64_t block : {5, 32, 100, 512, 4096}) expect_same_codes(block, 30 * block + 3);
}

TEST_P(MomentRulesTest, UpdatesInFp32HaveTheSameBitsOnEveryDevice) {
  const std::unique_ptr<Device> baseline = make_cpu_device_for("baseline", 1);
  DeviceOperands on_baseline(*baseline);
  for (const int64_t size : {1, 7, 1024, 20001}) {
    const auto run = [&](Device& device, DeviceOperands& operands) {
      const Tensor r = operands.tensor(normal_values(size, 1), size, 1);
      const Tensor m = operands.tensor(normal_values(size, 2), size, 1);
      Values squares = normal_values(size, 3);
      for (double& value : squares) value = std::abs(value);
      const Tensor v = operands.tensor(squares, size, 1);
      adam_update(device, AdamRule{0.9F, 0.999F, 1e-6F, 0.3F}, r, m, v);
      Values results = operands.values_of(r);
      momentum_update(device, 0.9F, 0.7F, r, m);
      for (const Tensor& t : {r, m, v}) {
        const Values more = operands.values_of(t);
        results.insert(results.end(), more.begin(), more.end());
      }
      return results;
    };
    EXPECT_EQ(run(*device_, operands_), run(*baseline, on_baseline)) << size;
  }
}

TEST_P(MomentRulesTest, MomentumScaleAndSquareMatchDoublePrecision) {
  for (const int64_t size : {1, 17, 20001}) {
    const Tensor buffer = tensor(Values(static_cast<size_t>(size)), size, 1);
    Values expected(static_cast<size_t>(size));
    for (uint64_t step = 0; step < 10; ++step) {
      const Values gradient = normal_values(size, step);
      const Tensor r = tensor(gradient, size, 1);
      momentum_update(*device_, 0.9F, 0.25F, r, buffer);
      for (size_t i = 0; i < expected.size(); ++i)
        expected[i] = static_cast<double>(0.9F) * expected[i] + 0.25 * gradient[i];
      EXPECT_LE(relative_error(values_of(r), expected), 16 * kRounding);
      EXPECT_EQ(values_of(r), values_of(buffer));
    }
    const Values x = normal_values(size, 5);
    const Tensor y = empty(size, 1);
    square(*device_, tensor(x, size, 1), y);
    const Values squares = values_of(y);
    scale(*device_, 0.3F, tensor(x, size, 1), y);
    const Values scaled = values_of(y);
    for (int64_t i = 0; i < size; ++i) {
      EXPECT_EQ(squares[i], static_cast<float>(x[i]) * static_cast<float>(x[i]));
      EXPECT_EQ(scaled[i], 0.3F * static_cast<float>(x[i]));
    }
  }
}

// Adafactor over a matrix that is cut into shards, beside the whole of it in double precision.
TEST_P(MomentRulesTest, AdafactorOfShardsIsThatOfTheWholeMatrix) {
  const int64_t shapes[][2] = {{1, 1}, {5, 9}, {65, 33}, {700, 129}, {3, 2000}};
  for (const auto& [rows, n] : shapes) {
    for (const int64_t shards : {1, 3}) {
      for (const float beta1 : {0.0F, 0.9F}) {
        AdafactorRule rule;
        rule.gradient_scale = 0.5F;
        rule.beta1 = beta1;
        rule.learning_rate = 0.1F;
        Values row(static_cast<size_t>(rows));
        Values column(static_cast<size_t>(n));
        Values moment(static_cast<size_t>(rows * n));
        const Tensor row_factors = tensor(row, rows, 1);
        const Tensor m = tensor(moment, rows, n);
        std::vector<Tensor> column_factors;
        for (int64_t s = 0; s < shards; ++s) column_factors.push_back(tensor(column, 1, n));
        for (int step = 1; step <= 5; ++step) {
          rule.beta2 = static_cast<float>(1 - std::pow(step, -0.8));
          const Values gradient = normal_values(rows * n, static_cast<uint64_t>(step), 0.01);
          const Tensor r = tensor(gradient, rows, n);
          const int64_t count = adafactor_sum_count(n);
          std::vector<float> total(static_cast<size_t>(count));
          auto own = [&](const Tensor& t, int64_t s) {
            const int64_t begin = s * rows / shards;
            return t.row_range(begin, (s + 1) * rows / shards - begin);
          };
          for (int64_t s = 0; s < shards; ++s) {
            const Tensor sums = empty(1, count);
            adafactor_sums(*device_, rule, own(r, s), own(row_factors, s), sums);
            const Values own_sums = values_of(sums);
            for (int64_t i = 0; i < count; ++i) total[i] += static_cast<float>(own_sums[i]);
          }
          const Tensor all_sums = tensor(Values(total.begin(), total.end()), 1, count);
          for (int64_t s = 0; s < shards; ++s) {
            adafactor_update(*device_, rule, own(r, s), own(row_factors, s), column_factors[s], all_sums, rows,
                             beta1 > 0 ? own(m, s) : Tensor{});
          }
          const auto beta2 = static_cast<double>(rule.beta2);
          Values row_mean(row.size());
          Values column_mean(column.size());
          for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              const double g = gradient[i * n + j] * 0.5;
              row_mean[i] += (g * g + 1e-30) / static_cast<double>(n);
              column_mean[j] += (g * g + 1e-30) / static_cast<double>(rows);
            }
          }
          double mean = 0;
          for (int64_t i = 0; i < rows; ++i) {
            row[i] = beta2 * row[i] + (1 - beta2) * row_mean[i];
            mean += row[i] / static_cast<double>(rows);
          }
          for (int64_t j = 0; j < n; ++j) column[j] = beta2 * column[j] + (1 - beta2) * column_mean[j];
          Values expected(moment.size());
          double squares = 0;
          for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              const double u = gradient[i * n + j] * 0.5 / std::sqrt(row[i] * column[j] / mean);
              expected[i * n + j] = u;
              squares += u * u;
            }
          }
          const double rms = std::sqrt(squares / static_cast<double>(rows * n));
          for (size_t i = 0; i < expected.size(); ++i) {
            expected[i] *= 0.1 / std::max(1.0, rms);
            if (beta1 == 0.0F) continue;
            moment[i] = static_cast<double>(beta1) * moment[i] + (1 - static_cast<double>(beta1)) * expected[i];
            expected[i] = moment[i];
          }
          // Each factor has a rounding per step; sums are in double.
          EXPECT_LE(relative_error(values_of(r), expected), 64 * kRounding) << rows << "x" << n << " step " << step;
          EXPECT_LE(relative_error(values_of(row_factors), row), 16 * kRounding);
          EXPECT_LE(relative_error(values_of(column_factors.back()), column), 16 * kRounding);
        }
      }
    }
  }
}

TEST_P(MomentRulesTest, AdafactorOfAVectorIsNotFactored) {
  for (const int64_t size : {1, 40, 5461}) {
    AdafactorRule rule;
    rule.beta2 = 0.4F;
    rule.learning_rate = 0.1F;
    rule.clip = 0.5F;
    const Values gradient = normal_values(size, 1, 0.01);
    const Values old = normal_values(size, 2, 0.01);
    Values v(old.size());
    std::transform(old.begin(), old.end(), v.begin(), [](double x) { return static_cast<float>(x * x); });
    const Tensor r = tensor(gradient, size, 1);
    const Tensor second = tensor(v, size, 1);
    const Tensor sums = empty(1, 1);
    adafactor_vector_sums(*device_, rule, r, second, sums);
    adafactor_vector_update(*device_, rule, r, second, sums, size, Tensor{});
    Values expected(v.size());
    double squares = 0;
    for (size_t i = 0; i < v.size(); ++i) {
      const double mean =
          static_cast<double>(0.4F) * v[i] + (1 - static_cast<double>(0.4F)) * gradient[i] * gradient[i];
      expected[i] = gradient[i] / std::sqrt(mean);
      squares += expected[i] * expected[i];
    }
    const double rms = std::sqrt(squares / static_cast<double>(size));
    for (double& u : expected) u *= 0.1 / std::max(1.0, rms / 0.5);
    EXPECT_LE(relative_error(values_of(r), expected), 32 * kRounding);
  }
}

TEST_P(MomentRulesTest, BasesInBlocksOfCodesAreWithinHalfAStepAndTheSameOnEveryDevice) {
  const std::unique_ptr<Device> baseline = make_cpu_device_for("baseline", 1);
  for (const int bits : {8, 4}) {
    const int most = bits == 8 ? 127 : 7;
    const int64_t block = basis_block(bits);
    for (const int64_t size : {int64_t{1}, int64_t{15}, block - 1, 7 * block + 3, int64_t{20001}}) {
      Values x = normal_values(size, 9, 0.05);
      for (int64_t i = block; i < std::min(2 * block, size); ++i) x[i] = 0;
      const auto encoded = [&](Device& device, DeviceOperands& operands) {
        const CodedMoment coded{operands.zeros(basis_code_bytes(bits, size), 1, DataType::kUint8),
                                operands.zeros(basis_blocks(bits, size), 1, DataType::kFloat32)};
        encode_basis(device, bits, operands.tensor(x, size, 1), coded.codes, coded.scales);
        return coded;
      };
      DeviceOperands on_baseline(*baseline);
      const CodedMoment here = encoded(*device_, operands_);
      const CodedMoment there = encoded(*baseline, on_baseline);
      EXPECT_EQ(values_of(here.codes), on_baseline.values_of(there.codes));
      const Tensor decoded = empty(size, 1);
      const Tensor decoded_there = on_baseline.empty(size, 1);
      decode_basis(*device_, bits, here.codes, here.scales, decoded);
      decode_basis(*baseline, bits, there.codes, there.scales, decoded_there);
      const Values back = values_of(decoded);
      const Values scales = values_of(here.scales);
      EXPECT_EQ(back, on_baseline.values_of(decoded_there));
      for (int64_t i = 0; i < size; ++i) EXPECT_LE(std::abs(back[i] - x[i]), 0.5001 * scales[i / block] / most) << i;
    }
  }
}

GALLEON_ON_EVERY_BACKEND(MomentRulesTest);
GALLEON_ON_EVERY_BACKEND(CodedUpdateTest);

}  // namespace
}  // namespace galleon

// Every operation over bf16 numbers is the fp32 operation on the same numbers, rounded when it is stored. The fp32
// operations are compared with double precision elsewhere.
#include <tuple>

#include "kernels/ops/activation.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/bias.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/layer_norm.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/reduction.h"
#include "tests/kernels/cases/attention.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

constexpr DataType kFp32 = DataType::kFloat32;
constexpr DataType kBf16 = DataType::kBFloat16;

class BFloat16Test : public KernelTest {
 protected:
  Tensor drawn(int64_t rows, int64_t columns, uint64_t seed, DataType type) {
    return tensor(bfloat16_values(normal_values(rows * columns, seed)), rows, columns, type == kBf16, type);
  }

  // One rounding to bf16, relative to the number itself, and what fp32 sums in another order may differ by.
  void expect_rounded(const char* what, const Tensor& rounded, const Tensor& exact) {
    ASSERT_EQ(rounded.type, kBf16);
    const Values actual = values_of(rounded);
    const Values expected = values_of(exact);
    double largest = 0;
    for (const double value : expected) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_NEAR(actual[i], expected[i], std::abs(expected[i]) * 0x1.01p-8 + largest * 4e-6) << what << " at " << i;
    }
  }
};

using BFloat16ModelTest = BFloat16Test;  // what belongs to models and their losses

TEST_P(BFloat16Test, ConversionIsToTheNearestEvenAndKeepsInfinitiesAndNaN) {
  const std::vector<std::pair<double, double>> cases = {{1.0, 1.0},
                                                        {1.0 + 0x1p-8, 1.0},
                                                        {1.0 + 3 * 0x1p-8, 1.0 + 0x1p-6},
                                                        {1.0 + 0x1.8p-8, 1.0 + 0x1p-7},
                                                        {-1.0 - 0x1.8p-8, -1.0 - 0x1p-7},
                                                        {0x1.fffffep127, HUGE_VAL},
                                                        {HUGE_VAL, HUGE_VAL},
                                                        {-HUGE_VAL, -HUGE_VAL},
                                                        {0x1p-149, 0.0}};
  Values from;
  Values to;
  for (const auto& [value, nearest] : cases) {
    from.push_back(value);
    to.push_back(nearest);
  }
  const auto n = static_cast<int64_t>(cases.size());
  const Tensor x = tensor(from, 1, n);
  const Tensor y = empty(1, n, true, kBf16);
  convert(*device_, x, y);
  EXPECT_EQ(values_of(y), to);
  const Tensor back = empty(1, n);
  convert(*device_, y, back);
  EXPECT_EQ(values_of(back), to);
  const Tensor nan = tensor({std::nan("")}, 1, 1);
  const Tensor also_nan = tensor({0.0}, 1, 1, false, kBf16);
  convert(*device_, nan, also_nan);
  EXPECT_TRUE(std::isnan(values_of(also_nan)[0]));
}

TEST_P(BFloat16Test, ProductsInEveryOrientationIntoBothTypes) {
  const int64_t shapes[][3] = {{1, 1, 1},   {3, 5, 7},    {33, 65, 17},     {64, 128, 256},
                               {129, 1, 9}, {520, 30, 7}, {600, 530, 1030}, {16, 16, 0}};
  for (const auto& [m, n, k] : shapes) {
    for (const bool flip_a : {false, true}) {
      for (const bool flip_b : {false, true}) {
        for (const float beta : {0.0F, 1.0F, 0.5F}) {
          if (m > 512 && beta != 0.5F) continue;  // several tiles; the smaller shapes try the rest
          const auto product = [&](DataType type, DataType result) {
            const Tensor a = flip_a ? drawn(k, m, 1, type) : drawn(m, k, 1, type);
            const Tensor b = flip_b ? drawn(n, k, 2, type) : drawn(k, n, 2, type);
            const Tensor c = drawn(m, n, 3, result);
            matmul(*device_, a, flip_a ? Transpose::kYes : Transpose::kNo, b, flip_b ? Transpose::kYes : Transpose::kNo,
                   c, 0.5F, beta);
            return c;
          };
          const Tensor exact = product(kFp32, kFp32);
          expect_rounded("product", product(kBf16, kBf16), exact);
          EXPECT_LE(relative_error(values_of(product(kBf16, kFp32)), values_of(exact)), sum_bound(k))
              << m << "x" << n << "x" << k << (flip_a ? " a" : "") << (flip_b ? " b" : "") << " beta " << beta;
        }
      }
    }
  }
}

TEST_P(BFloat16Test, NormsAndTheirGradients) {
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 8}, {7, 63}, {65, 128}, {3, 17001}}) {
    const auto run = [&](DataType type) {
      const Tensor x = drawn(rows, n, 1, type);
      const Tensor delta = drawn(rows, n, 2, type);
      const Tensor weight = tensor(bfloat16_values(normal_values(n, 3)), n, 1, false, type);
      const Tensor y = empty(rows, n, false, type);
      const Tensor again = empty(rows, n, false, type);
      const Tensor inverse = empty(rows, 1);
      const Tensor sum = type == kBf16 ? x
                                       : tensor(bfloat16_values([&] {
                                                  Values v = values_of(x);
                                                  const Values d = values_of(delta);
                                                  for (size_t i = 0; i < v.size(); ++i)
                                                    v[i] = static_cast<float>(v[i]) + static_cast<float>(d[i]);
                                                  return v;
                                                }()),
                                                rows, n);
      if (type == kBf16) {
        add_rms_norm(*device_, x, delta, weight, 1e-5F, y, inverse);
      } else {
        rms_norm(*device_, sum, weight, 1e-5F, y, inverse);
      }
      rms_norm_recompute(*device_, sum, weight, inverse, again);
      EXPECT_EQ(values_of(y), values_of(again));
      const Tensor dx = drawn(rows, n, 4, type);
      const Tensor dweight = tensor(normal_values(n, 5), n, 1);
      rms_norm_backward(*device_, sum, weight, inverse, drawn(rows, n, 6, type), dx, dweight);
      return std::tuple(sum, y, dx, dweight);
    };
    const auto [sum, y, dx, dweight] = run(kBf16);
    const auto [exact_sum, exact_y, exact_dx, exact_dweight] = run(kFp32);
    EXPECT_EQ(values_of(sum), values_of(exact_sum));
    expect_rounded("y", y, exact_y);
    expect_rounded("dx", dx, exact_dx);
    // Both are sums in fp32, of different order.
    EXPECT_LE(relative_error(values_of(dweight), values_of(exact_dweight)), 2 * sum_bound(rows));
  }
}

TEST_P(BFloat16Test, LayerNormsAndTheirGradients) {
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 8}, {7, 63}, {65, 128}, {3, 17001}}) {
    const auto run = [&](DataType type) {
      const Tensor x = drawn(rows, n, 1, type);
      const Tensor weight = tensor(bfloat16_values(normal_values(n, 2)), n, 1, false, type);
      const Tensor bias = tensor(bfloat16_values(normal_values(n, 3)), n, 1, false, type);
      const Tensor y = empty(rows, n, false, type);
      const Tensor again = empty(rows, n, true, type);
      const Tensor statistics = empty(rows, 2);
      layer_norm(*device_, x, weight, bias, 1e-5F, y, statistics);
      layer_norm_recompute(*device_, x, weight, bias, statistics, again);
      EXPECT_EQ(values_of(y), values_of(again));
      const Tensor dx = empty(rows, n, false, type);
      const Tensor dweight = tensor(normal_values(n, 4), n, 1);
      const Tensor dbias = tensor(normal_values(n, 5), n, 1);
      layer_norm_backward(*device_, x, weight, statistics, drawn(rows, n, 6, type), dx, dweight, dbias);
      return std::tuple(y, dx, dweight, dbias);
    };
    const auto [y, dx, dweight, dbias] = run(kBf16);
    const auto [exact_y, exact_dx, exact_dweight, exact_dbias] = run(kFp32);
    expect_rounded("y", y, exact_y);
    expect_rounded("dx", dx, exact_dx);
    EXPECT_LE(relative_error(values_of(dweight), values_of(exact_dweight)), sum_bound(rows));
    EXPECT_LE(relative_error(values_of(dbias), values_of(exact_dbias)), sum_bound(rows));
  }
}

TEST_P(BFloat16Test, BiasesAndTheirGradients) {
  constexpr int64_t kRows = 130;
  constexpr int64_t kColumns = 72;
  const auto run = [&](DataType type, Gaps gaps) {
    const Tensor y = tensor(bfloat16_values(normal_values(kRows * kColumns, 1)), kRows, kColumns, gaps, type);
    const Tensor dbias = tensor(normal_values(kColumns, 2), kColumns, 1);
    bias_backward(*device_, y, dbias);
    add_bias(*device_, tensor(bfloat16_values(normal_values(kColumns, 3)), kColumns, 1, false, type), y);
    return std::pair(y, dbias);
  };
  for (const Gaps gaps : kEveryGaps) {
    const auto [y, dbias] = run(kBf16, gaps);
    const auto [exact_y, exact_dbias] = run(kFp32, gaps);
    expect_rounded("y", y, exact_y);
    EXPECT_LE(relative_error(values_of(dbias), values_of(exact_dbias)), sum_bound(kRows));
  }
}

TEST_P(BFloat16Test, ElementwiseOperations) {
  constexpr int64_t kRows = 9;
  constexpr int64_t kColumns = 77;
  const auto run = [&](DataType type) {
    const Tensor gate = drawn(kRows, kColumns, 1, type);
    const Tensor up = drawn(kRows, kColumns, 2, type);
    const Tensor out = empty(kRows, kColumns, true, type);
    swiglu(*device_, gate, up, out);
    const Tensor sum = drawn(kRows, kColumns, 3, type);
    add(*device_, gate, sum);
    const Tensor turned = empty(kColumns, kRows, true, type);
    transpose(*device_, gate, turned);
    const Tensor filled = empty(2, 3, true, type);
    fill(*device_, filled, 0.5F);
    const Tensor copied = empty(kRows, kColumns, Gaps::aligned(), type);
    copy(*device_, gate, copied);
    std::vector<Tensor> curves;
    for (const bool tanh_form : {false, true}) {
      for (int i = 0; i < 2; ++i) curves.push_back(empty(kRows, kColumns, i == 0, type));
      gelu(*device_, gate, tanh_form, curves[curves.size() - 2]);
      gelu_backward(*device_, gate, tanh_form, up, curves.back());
    }
    for (int i = 0; i < 2; ++i) curves.push_back(empty(kRows, kColumns, i == 0, type));
    hyperbolic_tangent(*device_, gate, curves[4]);
    hyperbolic_tangent_backward(*device_, drawn(kRows, kColumns, 5, type), up, curves[5]);
    swiglu_backward(*device_, gate, up, drawn(kRows, kColumns, 4, type), gate, up);
    std::vector<Tensor> results{out, sum, turned, filled, gate, up, copied};
    results.insert(results.end(), curves.begin(), curves.end());
    return results;
  };
  const std::vector<Tensor> rounded = run(kBf16);
  const std::vector<Tensor> exact = run(kFp32);
  const char* names[] = {"swiglu", "add",   "transpose", "fill",       "dgate", "dup",  "copy",
                         "gelu",   "dgelu", "tanh gelu", "dtanh gelu", "tanh",  "dtanh"};
  for (size_t i = 0; i < rounded.size(); ++i) expect_rounded(names[i], rounded[i], exact[i]);
}

TEST_P(BFloat16ModelTest, AttentionAndItsGradientsWithGroupedHeads) {
  for (const AttentionShape shape : {AttentionShape{1, 1, 1, 1, 2}, {2, 7, 2, 1, 6}, {1, 130, 4, 2, 8}}) {
    const int64_t wide = shape.heads * shape.head_dimension;
    const int64_t narrow = shape.key_value_heads * shape.head_dimension;
    const int64_t tokens = shape.tokens();
    const auto run = [&](DataType type, const Tensor* forward) {
      const Tensor table = empty(shape.sequence, shape.head_dimension);
      rotary_table(*device_, table, rotary_frequencies(table.columns));
      const Tensor turned = drawn(tokens, wide, 9, type);
      rotary(*device_, turned, table, shape.sequence, shape.head_dimension, false);
      const Tensor q = drawn(tokens, wide, 1, type);
      const Tensor k = drawn(tokens, narrow, 2, type);
      const Tensor v = drawn(tokens, narrow, 3, type);
      const Tensor out = empty(tokens, wide, true, type);
      const Tensor log_sum = empty(shape.batch * shape.heads, shape.sequence);
      attention(*device_, shape, q, k, v, out, log_sum);
      // Both backward passes start from the rounded output.
      const Tensor kept = forward == nullptr ? out : tensor(values_of(*forward), tokens, wide, false, type);
      const Tensor dq = empty(tokens, wide, true, type);
      const Tensor dk = empty(tokens, narrow, true, type);
      const Tensor dv = empty(tokens, narrow, true, type);
      attention_backward(*device_, shape, q, k, v, kept, log_sum, drawn(tokens, wide, 4, type), dq, dk, dv);
      return std::vector<Tensor>{out, turned, dq, dk, dv};
    };
    const std::vector<Tensor> rounded = run(kBf16, nullptr);
    const std::vector<Tensor> exact = run(kFp32, rounded.data());
    const char* names[] = {"out", "rotary", "dq", "dk", "dv"};
    for (size_t i = 0; i < rounded.size(); ++i) expect_rounded(names[i], rounded[i], exact[i]);
  }
}

TEST_P(BFloat16ModelTest, EmbeddingAndItsGradient) {
  const Tensor ids = integers({3, 0, 3, 1, 4});
  const auto run = [&](DataType type) {
    const Tensor x = empty(5, 33, true, type);
    embedding(*device_, ids, drawn(6, 33, 1, type), x);
    const Tensor dtable = tensor(normal_values(6 * 33, 2), 6, 33, true);
    embedding_backward(*device_, ids, x, dtable);
    return std::pair(x, dtable);
  };
  const auto [x, dtable] = run(kBf16);
  const auto [exact, exact_dtable] = run(kFp32);
  EXPECT_EQ(values_of(x), values_of(exact));
  EXPECT_EQ(values_of(dtable), values_of(exact_dtable));
}

TEST_P(BFloat16ModelTest, TheGradientOfTheLossMayLieOverTheLogits) {
  for (const int64_t vocabulary : {1, 7, 1024, 1025, 5000}) {
    constexpr int64_t kRows = 6;
    const Values values = normal_values(kRows * vocabulary, 1, 3.0);
    std::vector<int32_t> ids;
    for (int64_t r = 0; r < kRows; ++r) ids.push_back(r == 2 ? -1 : static_cast<int32_t>((r * 31) % vocabulary));
    const Tensor targets = integers(ids);
    const Tensor exact = tensor(values, kRows, vocabulary);
    const Tensor losses = empty(kRows, 1);
    cross_entropy(*device_, exact, targets, 0.25F, losses, exact);
    const Tensor logits = tensor(values, kRows, vocabulary);
    const Tensor over = gradient_over(logits, kBf16);
    const Tensor same_losses = empty(kRows, 1);
    cross_entropy(*device_, logits, targets, 0.25F, same_losses, over);
    EXPECT_EQ(values_of(losses), values_of(same_losses));
    const Values rounded = values_of(over);
    const Values expected = values_of(exact);
    for (size_t i = 0; i < rounded.size(); ++i)
      ASSERT_NEAR(rounded[i], expected[i], std::abs(expected[i]) * 0x1.01p-8 + 1e-12) << vocabulary << " at " << i;
  }
}

TEST_P(BFloat16ModelTest, NumbersThatAreNotFiniteAreFound) {
  Values values = normal_values(20000, 1);
  EXPECT_TRUE(all_finite(*device_, tensor(values, 4, 5000, true, kBf16)));
  values[19999] = std::nan("");
  EXPECT_FALSE(all_finite(*device_, tensor(values, 4, 5000, true, kBf16)));
  values[19999] = HUGE_VAL;
  EXPECT_FALSE(all_finite(*device_, tensor(values, 4, 5000, true, kBf16)));
}

GALLEON_ON_EVERY_BACKEND(BFloat16Test);
GALLEON_ON_EVERY_BACKEND(BFloat16ModelTest);

}  // namespace
}  // namespace galleon

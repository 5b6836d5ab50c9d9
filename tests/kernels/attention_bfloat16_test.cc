// Attention in bf16 with heads that tensor cores take, and beside them heads and rows that they do not.
#include "kernels/ops/attention.h"
#include "tests/kernels/numerics.h"
#include "tests/kernels/ragged_sequences.h"

namespace galleon {
namespace {

constexpr DataType kBf16 = DataType::kBFloat16;

struct Case {
  AttentionShape shape;
  bool padded = false;
  double dropout = 0;
  Gaps gaps = false;
};

// Tiles of 128 and 64 queries, of 64 and 32 keys are cut in every way.
const Case kCases[] = {
    {{1, 1, 1, 1, 64}},
    {{2, 70, 2, 1, 64}},
    {{1, 200, 1, 1, 64}},
    {{1, 33, 3, 1, 96}},
    {{1, 129, 2, 2, 128}},
    {with_mask({1, 257, 1, 1, 64}, true, 40)},
    {with_mask({1, 150, 2, 1, 128}, true, 70)},
    {with_mask({2, 100, 1, 1, 96}, false, 0), true},
    {with_mask({2, 140, 2, 1, 64}, false, 0), true, 0.3},
    {with_mask({2, 67, 1, 1, 128}, true, 20), true, 0.5},
    {with_mask({1, 66, 1, 1, 96}, true, 0), false, 0.1},
    {{1, 70, 2, 1, 64}, false, 0, true},
    {{1, 130, 2, 1, 64}, false, 0, Gaps::aligned()},
    {{2, 40, 2, 2, 128}, true, 0, Gaps::aligned()},
    {{1, 40, 1, 1, 256}, false, 0.3},
};

class AttentionBFloat16Test : public KernelTest {
 protected:
  struct Results {
    Tensor out, logs, dq, dk, dv;
  };

  static Values numbers(const Case& c, int64_t columns, uint64_t seed) {
    return bfloat16_values(normal_values(c.shape.tokens() * columns, seed));
  }
  Tensor drawn(const Case& c, int64_t columns, uint64_t seed, DataType type) {
    const std::vector<int32_t> lengths = lengths_of(c);
    return tensor(without_padding(c.shape, lengths, numbers(c, columns, seed)), rows_of(c.shape, lengths), columns,
                  c.gaps, type);
  }

  static std::vector<int32_t> lengths_of(const Case& c) {
    return c.padded ? ragged_lengths(c.shape) : std::vector<int32_t>{};
  }

  AttentionMask mask_of(const Case& c) {
    AttentionMask mask;
    if (c.padded) mask.row_starts = integers(row_starts(lengths_of(c)));
    if (c.dropout > 0) {
      mask.dropout = {7, 11, 1001, c.dropout};
      mask.span = c.shape.sequence + 3;
    }
    return mask;
  }

  // Of the same numbers in either type; the backward begins with `out`, where it is given.
  Results run(const Case& c, DataType type, const Tensor* out) {
    const AttentionShape& s = c.shape;
    const int64_t wide = s.heads * s.head_dimension;
    const int64_t narrow = s.key_value_heads * s.head_dimension;
    const AttentionMask mask = mask_of(c);
    const int64_t rows = rows_of(s, lengths_of(c));
    const Tensor q = drawn(c, wide, 1, type);
    const Tensor k = drawn(c, narrow, 2, type);
    const Tensor v = drawn(c, narrow, 3, type);
    const Tensor dout = drawn(c, wide, 4, type);
    Results r{empty(rows, wide, c.gaps, type), empty(s.batch * s.heads, s.sequence), empty(rows, wide, c.gaps, type),
              empty(rows, narrow, c.gaps, type), empty(rows, narrow, c.gaps, type)};
    attention(*device_, s, q, k, v, r.out, r.logs, mask);
    const Tensor from = out == nullptr ? r.out : tensor(values_of(*out), rows, wide, false, type);
    attention_backward(*device_, s, q, k, v, from, r.logs, dout, r.dq, r.dk, r.dv, mask);
    return r;
  }
};

TEST_P(AttentionBFloat16Test, ForwardMatchesDoublePrecision) {
  for (const Case& c : kCases) {
    if (c.dropout > 0) continue;  // compared with fp32 below
    const AttentionShape& s = c.shape;
    const Results r = run(c, kBf16, nullptr);
    const Left left{lengths_of(c), {}};
    Values logs;
    const int64_t narrow = s.key_value_heads * s.head_dimension;
    const Values expected = attention_exactly(s, numbers(c, s.heads * s.head_dimension, 1), numbers(c, narrow, 2),
                                              numbers(c, narrow, 3), &logs, left);
    // Tensor cores take probabilities rounded to bf16, at most 2^-8 of each, and the result is rounded once more.
    EXPECT_LE(relative_error(with_padding(s, left.lengths, values_of(r.out)), expected), 0x1p-7)
        << s.sequence << " of " << s.head_dimension;
    EXPECT_LE(relative_error(values_of(r.logs), logs), sum_bound(s.sequence + s.head_dimension)) << s.sequence;
  }
}

TEST_P(AttentionBFloat16Test, ResultsAndGradientsAreThoseOfFp32) {
  for (const Case& c : kCases) {
    const Results rounded = run(c, kBf16, nullptr);
    const Results exact = run(c, DataType::kFloat32, &rounded.out);
    const auto expect_near = [&](const char* name, const Tensor& actual, const Tensor& expected) {
      // Probabilities and gradients of scores are rounded to bf16 before the products over them, results once more:
      // at most 2^-8 each of numbers that may be a few times the largest of the result.
      EXPECT_LE(relative_error(values_of(actual), values_of(expected)), 0x1p-6)
          << name << ": " << c.shape.sequence << " of " << c.shape.head_dimension << " window " << c.shape.window
          << " dropout " << c.dropout;
    };
    expect_near("out", rounded.out, exact.out);
    expect_near("dv", rounded.dv, exact.dv);
    if (c.shape.sequence == 1) continue;  // a single key takes all of the probability: dq and dk are rounding errors
    expect_near("dq", rounded.dq, exact.dq);
    expect_near("dk", rounded.dk, exact.dk);
  }
}

TEST_P(AttentionBFloat16Test, RepeatedRunsHaveTheSameBits) {
  const Case c{with_mask({2, 150, 2, 1, 64}, true, 0), true, 0.2};
  const Results first = run(c, kBf16, nullptr);
  const Results second = run(c, kBf16, nullptr);
  EXPECT_EQ(bytes_of_tensor(first.out), bytes_of_tensor(second.out));
  EXPECT_EQ(bytes_of_tensor(first.dq), bytes_of_tensor(second.dq));
  EXPECT_EQ(bytes_of_tensor(first.dk), bytes_of_tensor(second.dk));
  EXPECT_EQ(bytes_of_tensor(first.dv), bytes_of_tensor(second.dv));
}

TEST_P(AttentionBFloat16Test, LargeScoresDoNotOverflow) {
  const AttentionShape s{1, 130, 1, 1, 64};
  const Tensor q = tensor(bfloat16_values(normal_values(130 * 64, 1, 60.0)), 130, 64, false, kBf16);
  const Tensor k = tensor(bfloat16_values(normal_values(130 * 64, 2, 60.0)), 130, 64, false, kBf16);
  const Tensor out = empty(130, 64, false, kBf16);
  attention(*device_, s, q, k, k, out, empty(1, 130));
  // Scores near 3·10^4 carry an absolute rounding error near 10^-2, which the exponential makes relative.
  EXPECT_LE(relative_error(values_of(out), attention_exactly(s, values_of(q), values_of(k), values_of(k))), 2e-2);
}

GALLEON_ON_EVERY_BACKEND(AttentionBFloat16Test);

}  // namespace
}  // namespace galleon

#include "kernels/ops/attention.h"

#include <initializer_list>
#include <utility>

#include "tests/kernels/numerics.h"
#include "tests/kernels/ragged_sequences.h"

namespace galleon {
namespace {

using AttentionTest = KernelTest;

TEST_P(AttentionTest, LaterTokensDoNotReachEarlierOnes) {
  const AttentionShape s{1, 150, 2, 1, 16};
  const Values q = normal_values(s.tokens() * 32, 1);
  Values k = normal_values(s.tokens() * 16, 2);
  Values v = normal_values(s.tokens() * 16, 3);
  const Tensor before = empty(s.tokens(), 32);
  const Tensor after = empty(s.tokens(), 32);
  const Tensor logs = empty(2, s.sequence);
  attention(*device_, s, tensor(q, 150, 32), tensor(k, 150, 16), tensor(v, 150, 16), before, logs);
  for (size_t i = 100 * 16; i < k.size(); ++i) k[i] = v[i] = 1e3;
  attention(*device_, s, tensor(q, 150, 32), tensor(k, 150, 16), tensor(v, 150, 16), after, logs);
  EXPECT_EQ(values_of(before.row_range(0, 100)), values_of(after.row_range(0, 100)));
  EXPECT_NE(values_of(before.row_range(100, 1)), values_of(after.row_range(100, 1)));
}

TEST_P(AttentionTest, LargeScoresDoNotOverflow) {
  const AttentionShape s{1, 130, 1, 1, 16};
  const Values q = normal_values(s.tokens() * 16, 1, 60.0);
  const Values k = normal_values(s.tokens() * 16, 2, 60.0);
  const Values v = normal_values(s.tokens() * 16, 3);
  const Tensor out = empty(s.tokens(), 16);
  attention(*device_, s, tensor(q, 130, 16), tensor(k, 130, 16), tensor(v, 130, 16), out, empty(1, 130));
  // Scores near 2·10^4 carry an absolute rounding error near 10^-2, which the exponential makes relative.
  EXPECT_LE(relative_error(values_of(out), attention_exactly(s, q, k, v)), 1e-2);
}

TEST_P(AttentionTest, RepeatedRunsHaveTheSameBits) {
  const AttentionShape s{2, 200, 4, 2, 32};
  const Tensor q = tensor(normal_values(400 * 128, 1), 400, 128);
  const Tensor k = tensor(normal_values(400 * 64, 2), 400, 64);
  std::vector<Values> results;
  for (int run = 0; run < 2; ++run) {
    const Tensor out = empty(400, 128);
    const Tensor logs = empty(8, 200);
    const Tensor dq = empty(400, 128);
    const Tensor dk = empty(400, 64);
    const Tensor dv = empty(400, 64);
    attention(*device_, s, q, k, k, out, logs);
    attention_backward(*device_, s, q, k, k, out, logs, q, dq, dk, dv);
    for (const Tensor& t : {out, logs, dq, dk, dv}) results.push_back(values_of(t));
  }
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(results[i], results[i + 5]);
}

TEST_P(AttentionTest, RotaryMatchesTheRotationAndItsBackwardUndoesIt) {
  const int64_t sequence = 50;
  for (const auto& [dimension, gaps] : std::initializer_list<std::pair<int64_t, bool>>{
           {2, true}, {6, false}, {16, true}, {64, false}, {128, false}, {128, true}}) {
    const int64_t heads = 3;
    const int64_t tokens = 2 * sequence;
    const Tensor table = empty(64, dimension);
    rotary_table(*device_, table, rotary_frequencies(table.columns));
    const Values x = normal_values(tokens * heads * dimension, 1);
    const Tensor t = tensor(x, tokens, heads * dimension, gaps);
    rotary(*device_, t, table, sequence, dimension, false);
    Values expected(x.size());
    for (int64_t token = 0; token < tokens; ++token) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < dimension / 2; ++i) {
          const int64_t a = (token * heads + h) * dimension + i;
          const int64_t b = a + dimension / 2;
          const double angle = static_cast<double>(token % sequence) *
                               std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(dimension));
          expected[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
          expected[b] = x[b] * std::cos(angle) + x[a] * std::sin(angle);
        }
      }
    }
    EXPECT_LE(relative_error(values_of(t), expected), 4 * kRounding) << dimension;
    rotary(*device_, t, table, sequence, dimension, true);
    EXPECT_LE(relative_error(values_of(t), x), 8 * kRounding) << dimension;
  }
}

TEST_P(AttentionTest, RotaryInBf16IsThatOfFp32RoundedOnceWithGapsAndWithout) {
  constexpr int64_t kDimension = 64;
  const Tensor table = empty(10, kDimension);
  rotary_table(*device_, table, rotary_frequencies(kDimension));
  const Values x = bfloat16_values(normal_values(20 * 3 * kDimension, 1));
  const Tensor exact = tensor(x, 20, 3 * kDimension);
  rotary(*device_, exact, table, 10, kDimension, false);
  for (const bool gaps : {false, true}) {
    const Tensor t = tensor(x, 20, 3 * kDimension, gaps, DataType::kBFloat16);
    rotary(*device_, t, table, 10, kDimension, false);
    EXPECT_LE(relative_error(values_of(t), values_of(exact)), 0x1.01p-8);
  }
}

TEST_P(AttentionTest, WindowsBothDirectionsAndLengthsMatchDoublePrecision) {
  for (const AttentionShape& s : kMaskedShapes) {
    for (const bool padded : {false, true}) {
      const int64_t wide = s.heads * s.head_dimension;
      const int64_t narrow = s.key_value_heads * s.head_dimension;
      Left left;
      AttentionMask mask;
      if (padded) {
        left.lengths = ragged_lengths(s);
        mask.row_starts = integers(row_starts(left.lengths));
      }
      const int64_t rows = rows_of(s, left.lengths);
      const auto rows_with_gaps = [&](const Values& x, int64_t width, bool gaps) {
        return tensor(without_padding(s, left.lengths, x), rows, width, gaps);
      };
      const Values q = normal_values(s.tokens() * wide, 1, 2.0);
      const Values k = normal_values(s.tokens() * narrow, 2);
      const Values v = normal_values(s.tokens() * narrow, 3);
      const Tensor out = empty(rows, wide, true);
      const Tensor logs = empty(s.batch * s.heads, s.sequence);
      attention(*device_, s, rows_with_gaps(q, wide, true), rows_with_gaps(k, narrow, true),
                rows_with_gaps(v, narrow, false), out, logs, mask);
      Values expected_logs;
      const Values expected = attention_exactly(s, q, k, v, &expected_logs, left);
      const double bound = sum_bound(s.sequence + s.head_dimension);
      EXPECT_LE(relative_error(with_padding(s, left.lengths, values_of(out)), expected), bound)
          << s.sequence << " window " << s.window;
      EXPECT_LE(relative_error(values_of(logs), expected_logs), bound) << s.sequence << " window " << s.window;
    }
  }
}

TEST_P(AttentionTest, TheirBackwardMatchesDifferencesWithAndWithoutDropout) {
  for (const AttentionShape& s : kMaskedShapes) {
    for (const double probability : {0.0, 0.3}) {
      const int64_t wide = s.heads * s.head_dimension;
      const int64_t narrow = s.key_value_heads * s.head_dimension;
      const int64_t span = s.sequence + 3;
      AttentionMask mask;
      Left left;
      left.lengths = ragged_lengths(s);
      mask.row_starts = integers(row_starts(left.lengths));
      const int64_t rows = rows_of(s, left.lengths);
      const auto rows_with_gaps = [&](const Values& x, int64_t width, bool gaps) {
        return tensor(without_padding(s, left.lengths, x), rows, width, gaps);
      };
      const auto numbers = [&](const Tensor& t) { return with_padding(s, left.lengths, values_of(t)); };
      if (probability > 0) {
        // The factors are those that dropout itself would apply to a tensor of ones.
        mask.dropout = {7, 11, 1001, probability};
        mask.span = span;
        const int64_t queries = s.batch * s.heads * span;
        const Tensor ones = tensor(Values(static_cast<size_t>(queries * span), 1.0), queries, span);
        dropout(*device_, ones, mask.dropout, ones);
        const Values factors = values_of(ones);
        for (int64_t unit = 0; unit < s.batch * s.heads; ++unit) {
          for (int64_t i = 0; i < s.sequence; ++i) {
            for (int64_t j = 0; j < s.sequence; ++j) left.factors.push_back(factors[(unit * span + i) * span + j]);
          }
        }
      }
      const Values q = normal_values(s.tokens() * wide, 1);
      const Values k = normal_values(s.tokens() * narrow, 2);
      const Values v = normal_values(s.tokens() * narrow, 3);
      const Values dout = normal_values(s.tokens() * wide, 4);
      const Tensor tq = rows_with_gaps(q, wide, true);
      const Tensor tk = rows_with_gaps(k, narrow, false);
      const Tensor tv = rows_with_gaps(v, narrow, true);
      const Tensor out = empty(rows, wide);
      const Tensor logs = empty(s.batch * s.heads, s.sequence);
      attention(*device_, s, tq, tk, tv, out, logs, mask);
      const double bound = sum_bound(s.sequence + s.head_dimension);
      EXPECT_LE(relative_error(numbers(out), attention_exactly(s, q, k, v, nullptr, left)), 2 * bound) << s.sequence;
      const Tensor dq = empty(rows, wide, true);
      const Tensor dk = empty(rows, narrow, true);
      const Tensor dv = empty(rows, narrow, true);
      attention_backward(*device_, s, tq, tk, tv, out, logs, rows_with_gaps(dout, wide, true), dq, dk, dv, mask);
      const double tolerance = 8 * bound;
      if (s.window != 1) {  // a single key takes all of the probability
        expect_gradient(
            "q", q, numbers(dq),
            [&](const Values& p) { return dot(dout, attention_exactly(s, p, k, v, nullptr, left)); }, tolerance);
        expect_gradient(
            "k", k, numbers(dk),
            [&](const Values& p) { return dot(dout, attention_exactly(s, q, p, v, nullptr, left)); }, tolerance);
      }
      expect_gradient(
          "v", v, numbers(dv), [&](const Values& p) { return dot(dout, attention_exactly(s, q, k, p, nullptr, left)); },
          tolerance);
    }
  }
}

TEST_P(AttentionTest, AWindowAsLongAsTheSequenceChangesNoBit) {
  const AttentionShape full{1, 200, 2, 1, 32};
  const Tensor q = tensor(normal_values(200 * 64, 1), 200, 64);
  const Tensor k = tensor(normal_values(200 * 32, 2), 200, 32);
  std::vector<Values> results;
  for (const int64_t window : {0, 200}) {
    const Tensor out = empty(200, 64);
    const Tensor logs = empty(2, 200);
    attention(*device_, with_mask(full, true, window), q, k, k, out, logs);
    results.push_back(values_of(out));
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_P(AttentionTest, ARowStartOutsideTheRowsIsNamedByWhenTheOutputIsRead) {
  const AttentionShape s = with_mask({2, 3, 1, 1, 4}, false, 0);
  AttentionMask mask;
  mask.row_starts = integers({0, 3, 7});
  const Tensor out = empty(6, 4);
  EXPECT_DEATH(
      {
        attention(*device_, s, empty(6, 4), empty(6, 4), empty(6, 4), out, empty(2, 3), mask);
        values_of(out);
      },
      "attention: row start 7 of sequence 2 is outside the rows 0 to 6");
}

TEST_P(AttentionTest, RowsThatBelongToNoSequenceReachNothingAndStayAsTheyAre) {
  const AttentionShape s = with_mask({2, 80, 2, 2, 8}, false, 0);
  Values x = normal_values(100 * 16, 1);
  AttentionMask mask;
  mask.row_starts = integers({0, 66, 70});
  std::vector<Values> results;
  for (int run = 0; run < 2; ++run) {
    const Tensor t = tensor(x, 100, 16);
    const Tensor logs = empty(4, 80);
    std::vector<Tensor> written;
    for (int i = 0; i < 4; ++i) written.push_back(tensor(Values(100 * 16, 7.0), 100, 16));
    attention(*device_, s, t, t, t, written[0], logs, mask);
    attention_backward(*device_, s, t, t, t, written[0], logs, t, written[1], written[2], written[3], mask);
    for (const Tensor& w : written) results.push_back(values_of(w));
    for (size_t i = 70 * 16; i < x.size(); ++i) x[i] = 1e3;
  }
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(results[i], results[i + 4]);
    for (size_t j = 0; j < results[i].size(); ++j) ASSERT_EQ(results[i][j] == 7.0, j >= 70 * 16) << i << ", " << j;
  }
}

TEST_P(AttentionTest, ASequenceHasTheSameBitsWhereverItsRowsLie) {
  const AttentionShape one = with_mask({1, 70, 2, 1, 16}, false, 0);
  const AttentionShape both = with_mask({2, 90, 2, 1, 16}, false, 0);
  const Values q = normal_values(120 * 32, 1);
  const Values k = normal_values(120 * 16, 2);
  const auto last = [](const Values& x, int64_t width) { return Values(x.end() - 70 * width, x.end()); };
  AttentionMask mask;
  mask.row_starts = integers({0, 50, 120});
  std::vector<Values> results;
  for (const bool alone : {true, false}) {
    const int64_t rows = alone ? 70 : 120;
    const Tensor tq = tensor(alone ? last(q, 32) : q, rows, 32);
    const Tensor tk = tensor(alone ? last(k, 16) : k, rows, 16);
    const Tensor out = empty(rows, 32);
    const Tensor logs = alone ? empty(2, 70) : empty(4, 90);
    const Tensor dq = empty(rows, 32);
    const Tensor dk = empty(rows, 16);
    const Tensor dv = empty(rows, 16);
    const AttentionMask where = alone ? AttentionMask{} : mask;
    attention(*device_, alone ? one : both, tq, tk, tk, out, logs, where);
    attention_backward(*device_, alone ? one : both, tq, tk, tk, out, logs, tq, dq, dk, dv, where);
    for (const Tensor& t : {out, dq}) results.push_back(last(values_of(t), 32));
    for (const Tensor& t : {dk, dv}) results.push_back(last(values_of(t), 16));
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(results[i], results[i + 4]) << i;
}

GALLEON_ON_EVERY_BACKEND(AttentionTest);

}  // namespace
}  // namespace galleon

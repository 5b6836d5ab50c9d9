// Attention in double precision, and the shapes of its tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/ops/attention.h"
#include "tests/kernels/operands.h"

namespace galleon {

// What attention leaves out, for the reference: lengths of sequences, and factors on probabilities by (sequence, head,
// query, key), without gaps.
struct Left {
  std::vector<int32_t> lengths;
  Values factors;
};

inline bool sees(const AttentionShape& s, int64_t i, int64_t j) {
  return (!s.causal || j <= i) && (s.window == 0 || i - j < s.window);
}

// drop(softmax(q·kᵀ/sqrt(D)))·v in double, and the logarithms of the rows' sums.
inline Values reference(const AttentionShape& s, const Values& q, const Values& k, const Values& v,
                        Values* logs = nullptr, const Left& left = {}) {
  const int64_t wide = s.heads * s.head_dimension;
  const int64_t narrow = s.key_value_heads * s.head_dimension;
  Values out(static_cast<size_t>(s.tokens() * wide));
  for (int64_t unit = 0; unit < s.batch * s.heads; ++unit) {
    const int64_t start = unit / s.heads * s.sequence;
    const int64_t h = unit % s.heads;
    const int64_t g = h / (s.heads / s.key_value_heads);
    const int64_t length = left.lengths.empty() ? s.sequence : left.lengths[unit / s.heads];
    for (int64_t i = 0; i < s.sequence; ++i) {
      if (i >= length) {
        if (logs != nullptr) logs->push_back(0);
        continue;
      }
      Values scores(static_cast<size_t>(length), -std::numeric_limits<double>::infinity());
      for (int64_t j = 0; j < length; ++j) {
        if (!sees(s, i, j)) continue;
        scores[j] = 0;
        for (int64_t d = 0; d < s.head_dimension; ++d) {
          scores[j] +=
              q[(start + i) * wide + h * s.head_dimension + d] * k[(start + j) * narrow + g * s.head_dimension + d];
        }
        scores[j] /= std::sqrt(static_cast<double>(s.head_dimension));
      }
      const double largest = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double& score : scores) sum += score = std::exp(score - largest);
      if (logs != nullptr) logs->push_back(largest + std::log(sum));
      for (int64_t j = 0; j < length; ++j) {
        if (!left.factors.empty()) scores[j] *= left.factors[(unit * s.sequence + i) * s.sequence + j];
        for (int64_t d = 0; d < s.head_dimension; ++d) {
          out[(start + i) * wide + h * s.head_dimension + d] +=
              scores[j] / sum * v[(start + j) * narrow + g * s.head_dimension + d];
        }
      }
    }
  }
  return out;
}

inline AttentionShape with_mask(AttentionShape s, bool causal, int64_t window) {
  s.causal = causal;
  s.window = window;
  return s;
}

// Rows of sequences that lie one after the other.
inline std::vector<int32_t> row_starts(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> starts{0};
  for (const int32_t length : lengths) starts.push_back(starts.back() + length);
  return starts;
}

inline int64_t rows_of(const AttentionShape& s, const std::vector<int32_t>& lengths) {
  return lengths.empty() ? s.tokens() : row_starts(lengths).back();
}

// The rows that count, of a matrix with a row for each position of the batch, and that matrix again with zeros for the
// other rows. Without lengths both are the same.
inline Values without_padding(const AttentionShape& s, const std::vector<int32_t>& lengths, const Values& x) {
  if (lengths.empty()) return x;
  const int64_t width = static_cast<int64_t>(x.size()) / s.tokens();
  Values rows;
  for (int64_t b = 0; b < s.batch; ++b) {
    const auto first = x.begin() + b * s.sequence * width;
    rows.insert(rows.end(), first, first + lengths[b] * width);
  }
  return rows;
}
inline Values with_padding(const AttentionShape& s, const std::vector<int32_t>& lengths, const Values& rows) {
  if (lengths.empty()) return rows;
  const std::vector<int32_t> starts = row_starts(lengths);
  const int64_t width = static_cast<int64_t>(rows.size()) / starts.back();
  Values x(static_cast<size_t>(s.tokens() * width));
  for (int64_t b = 0; b < s.batch; ++b)
    std::copy_n(rows.begin() + starts[b] * width, lengths[b] * width, x.begin() + b * s.sequence * width);
  return x;
}

// A length for every sequence, the last one full.
inline std::vector<int32_t> ragged_lengths(const AttentionShape& s) {
  std::vector<int32_t> lengths(static_cast<size_t>(s.batch), static_cast<int32_t>(s.sequence));
  if (s.batch > 1) lengths[0] = static_cast<int32_t>(1 + s.sequence / 3);
  return lengths;
}

}  // namespace galleon

// Sequences of different lengths, one after the other and padded.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/kernels/cases/attention.h"
#include "tests/kernels/operands.h"

namespace galleon {

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

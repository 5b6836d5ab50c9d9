// Where the sequences of a pass lie among its rows.
#pragma once

#include <cstdint>

#include "kernels/math/portable.h"

namespace galleon::math {

struct SequenceRows {
  int64_t start;
  int64_t length;
};

// The rows of sequence `index`: row_starts[index] to row_starts[index + 1], or `sequence` rows from index·sequence on
// where there are no starts. A sequence has none where its start or its end is out of its range, which is told
// elsewhere. `rows`: where all must end.
GALLEON_FORMULA SequenceRows rows_of_sequence(const int32_t* row_starts, int64_t rows, int64_t sequence,
                                              int64_t index) {
  if (row_starts == nullptr) return {index * sequence, sequence};
  const int64_t start = row_starts[index];
  const int64_t end = row_starts[index + 1];
  const bool sound = start >= 0 && end <= rows && start <= end && end - start <= sequence;
  return {sound ? start : 0, sound ? end - start : 0};
}

}  // namespace galleon::math

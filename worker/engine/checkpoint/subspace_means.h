// What the next line of metrics.jsonl will say of subspaces, as far as it is known: part of a checkpoint, so that a
// resumed run writes the lines that an undisturbed one would have.
#pragma once

#include <cstdint>

namespace galleon {

// A mean over what was measured since the last line; where nothing was, the one before stands.
struct RunningMean {
  double sum = 0;
  int64_t count = 0;
  double last = 0;
  double take() {
    if (count > 0) last = sum / static_cast<double>(count);
    sum = 0;
    count = 0;
    return last;
  }
};

struct SubspaceMeans {
  RunningMean overlap;
  RunningMean energy;
  int64_t refreshed = 0;  // matrices, since the last line
};

}  // namespace galleon

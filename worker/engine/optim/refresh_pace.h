// How often a matrix is refreshed. Lazy refresh follows Q-GaLore (Zhang et al. 2024, arXiv 2407.08296, §3.2), where the
// interval of a matrix whose bases have stayed alike doubles; here a basis that has turned restores it.
#pragma once

#include <cstdint>

namespace galleon {

// Refreshes in a row with an overlap above the threshold that double the interval.
inline constexpr int64_t kLazyStreak = 2;

struct RefreshPace {
  int64_t interval = 0;    // steps; the job's, times a power of two
  int64_t not_before = 0;  // step
  int64_t streak = 0;      // refreshes in a row above the threshold, since the interval last changed

  // A matrix is due at its own place in the job's interval, but not before `not_before`, so that matrices that are
  // never due together stay so.
  void refreshed(int64_t step, double overlap, double threshold, int64_t job_interval) {
    streak = overlap > threshold ? streak + 1 : 0;
    if (streak == 0) interval = job_interval;
    if (streak == kLazyStreak) {
      interval *= 2;
      streak = 0;
    }
    not_before = step + interval;
  }
};

}  // namespace galleon

// The learning-rate schedule: a multiplier of the highest rate for each step.
#pragma once

#include <cstdint>

#include "worker/engine/ground/options.h"

namespace galleon {

// Step k = 1, 2, …; with s = k − 1: s/warmup below warmup_steps, then the curve from 1 at warmup_steps to min_ratio at
// schedule.steps, and min_ratio after it. kWsd stays at 1 until its last decay_steps (Hu et al. 2024, MiniCPM), which
// fall from 1 to min_ratio with their number or with its root (Hägele et al. 2024). The first rate is 0 when there is a
// warm-up (GaLore reference recipe).
double schedule_multiplier(const ScheduleOptions& schedule, int64_t step);

// Whether both give every step up to `step` the same rate: a run of one may go on with the other. Alike but for
// lengths.
bool same_until(const ScheduleOptions& a, const ScheduleOptions& b, int64_t step);

}  // namespace galleon

#include "worker/engine/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace galleon {

double schedule_multiplier(const ScheduleOptions& schedule, int64_t step) {
  const int64_t s = step - 1;
  if (s < schedule.warmup_steps) return static_cast<double>(s) / static_cast<double>(schedule.warmup_steps);
  if (schedule.type == ScheduleType::kConstant) return 1.0;
  const double length = static_cast<double>(std::max<int64_t>(1, schedule.steps - schedule.warmup_steps));
  const double position = std::min(1.0, static_cast<double>(s - schedule.warmup_steps) / length);
  const double fall =
      schedule.type == ScheduleType::kCosine ? 0.5 * (1.0 + std::cos(std::numbers::pi * position)) : 1.0 - position;
  return schedule.min_ratio + (1.0 - schedule.min_ratio) * fall;
}

}  // namespace galleon

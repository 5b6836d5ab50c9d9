#include "worker/engine/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace galleon {

namespace {

// Steps before the decay.
int64_t stable_end(const ScheduleOptions& schedule) {
  return std::max(schedule.warmup_steps, schedule.steps - schedule.decay_steps);
}

}  // namespace

double schedule_multiplier(const ScheduleOptions& schedule, int64_t step) {
  const int64_t s = step - 1;
  if (s < schedule.warmup_steps) return static_cast<double>(s) / static_cast<double>(schedule.warmup_steps);
  if (schedule.type == ScheduleType::kConstant) return 1.0;
  const int64_t begin = schedule.type == ScheduleType::kWsd ? stable_end(schedule) : schedule.warmup_steps;
  if (s < begin) return 1.0;
  const double length = static_cast<double>(std::max<int64_t>(1, schedule.steps - begin));
  const double position = std::min(1.0, static_cast<double>(s - begin) / length);
  double fall = 1.0 - position;
  if (schedule.type == ScheduleType::kCosine) fall = 0.5 * (1.0 + std::cos(std::numbers::pi * position));
  if (schedule.type == ScheduleType::kWsd && schedule.decay == ScheduleDecay::kSqrt) fall = 1.0 - std::sqrt(position);
  return schedule.min_ratio + (1.0 - schedule.min_ratio) * fall;
}

bool same_until(const ScheduleOptions& a, const ScheduleOptions& b, int64_t step) {
  if (a.warmup_steps != b.warmup_steps && step > 0) return false;
  if (a.steps == b.steps && a.decay_steps == b.decay_steps) return true;
  return a.type == ScheduleType::kWsd && b.type == ScheduleType::kWsd &&
         step <= std::min(stable_end(a), stable_end(b)) + 1;
}

}  // namespace galleon

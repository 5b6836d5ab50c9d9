// What this GPU reaches in the same run: the rate of a large copy and of the best product of a few large ones.
#pragma once

#include <functional>

#include "kernels/device.h"

namespace galleon::gpu {

// Seconds of one call, the best of three runs of `repeats` after one that warms up; between two events on the device's
// stream.
double seconds_of(Device& device, int repeats, const std::function<void()>& call);

double copy_bytes_per_second(Device& device);
double bf16_flops_per_second(Device& device);

}  // namespace galleon::gpu

// Reproducible random tensors.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace galleon {

// x[i] ← mean + deviation·normal(seed, stream, first + i): counter-based normal numbers (Philox 4×32-10, Box–Muller),
// the same for any number of threads and any cut into pieces.
void fill_normal(Device& device, const Tensor& x, uint64_t seed, uint64_t stream, int64_t first, float mean,
                 float deviation);

}  // namespace galleon

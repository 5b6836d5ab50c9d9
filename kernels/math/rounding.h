// Noise for stochastic rounding: a hash of a seed and an element's place, so that every replica of a weight rounds the
// same way, whatever the device and however the matrix is cut.
#pragma once

#include "kernels/math/mix.h"

namespace galleon::math {

// The row's part of the hash; `seed` holds the run's seed, the step and the parameter.
GALLEON_FORMULA uint32_t rounding_row(uint64_t seed, int64_t row) {
  return static_cast<uint32_t>(avalanche(absorb(seed, static_cast<uint64_t>(row) + 1)));
}

// 16 bits for the element in `column` (the finaliser of MurmurHash3 over 32 bits, Appleby 2016).
GALLEON_FORMULA uint32_t rounding_noise(uint32_t row, uint32_t column) {
  uint32_t x = row ^ (column * 0x9E3779B1U);
  x ^= x >> 16;
  x *= 0x85EBCA6BU;
  x ^= x >> 13;
  x *= 0xC2B2AE35U;
  return x >> 16;
}

}  // namespace galleon::math

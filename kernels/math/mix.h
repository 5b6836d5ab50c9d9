// The mixing step of our 64-bit hash.
#pragma once

#include <cstdint>

#include "kernels/math/portable.h"

namespace galleon::math {

inline constexpr int64_t kHashBlockBytes = 65536;
inline constexpr int kHashLanes = 8;

// Absorbs a word: odd multiplications and a shift are bijections, so two states that differ never meet on equal input.
GALLEON_FORMULA uint64_t absorb(uint64_t state, uint64_t word) {
  state = (state ^ word) * 0x9FB21C651E98DF25U;
  return state ^ (state >> 32);
}

// Spreads every bit over the whole word.
GALLEON_FORMULA uint64_t avalanche(uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9U;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

}  // namespace galleon::math

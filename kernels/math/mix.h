// Mixing of 64-bit words: seeds, and the steps of our hash.
#pragma once

#include <cstdint>

#include "kernels/math/portable.h"

namespace galleon::math {

// 2⁶⁴ divided by the golden ratio, odd: its multiples spread evenly over all words (Knuth, TAOCP 3, section 6.4).
inline constexpr uint64_t kGolden = 0x9E3779B97F4A7C15U;

// One seed of a seed and a number, such as a step: a bijection of either while the other stays, and near numbers of
// near seeds do not meet.
GALLEON_FORMULA uint64_t mixed_seed(uint64_t seed, uint64_t number) {
  return seed * kGolden + number;
}

inline constexpr int64_t kHashBlockBytes = 65536;
inline constexpr int kHashLanes = 8;

// Absorbs a word: odd multiplications and a shift are bijections, so two states that differ never meet on equal input.
GALLEON_FORMULA uint64_t absorb(uint64_t state, uint64_t word) {
  state = (state ^ word) * 0x9FB21C651E98DF25U;
  return state ^ (state >> 32);
}

// What lane `lane` of a block begins with, so that equal bytes in other places are not equal words (constants of
// wyhash).
GALLEON_FORMULA uint64_t hash_lane(uint64_t block, uint64_t lane) {
  return (block + 1) * 0xA0761D6478BD642FU + lane * 0xE7037ED1A0B428DBU;
}

// Spreads every bit over the whole word (the finaliser of SplitMix64, Steele et al. 2014).
GALLEON_FORMULA uint64_t avalanche(uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9U;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

}  // namespace galleon::math

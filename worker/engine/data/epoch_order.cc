#include "worker/engine/data/epoch_order.h"

#include <algorithm>

#include "common/base/check.h"
#include "kernels/math/mix.h"

namespace galleon {

namespace {

uint64_t mix(uint64_t x) {
  return math::avalanche(x + math::kGolden);
}

}  // namespace

// A four-round Feistel network over the next even number of bits, walked until the value falls into the range (Black &
// Rogaway 2002, cycle walking).
int64_t permuted(int64_t i, int64_t n, uint64_t key) {
  GALLEON_CHECK(i >= 0 && i < n) << "index " << i << " of " << n;
  int half = 1;
  while ((int64_t{1} << (2 * half)) < n) ++half;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  auto x = static_cast<uint64_t>(i);
  do {
    uint64_t left = x >> half;
    uint64_t right = x & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t next = left ^ (mix(right ^ mix(key + round)) & mask);
      left = right;
      right = next;
    }
    x = (left << half) | right;
  } while (x >= static_cast<uint64_t>(n));
  return static_cast<int64_t>(x);
}

EpochOrder::Place EpochOrder::place(int64_t n, const StoreProgress& progress) const {
  GALLEON_CHECK(n >= 0) << "sequence " << n;
  if (progress.complete) GALLEON_CHECK(progress.sequences > 0) << "an epoch without sequences";
  if (progress.complete && n >= progress.sequences) {
    const int64_t epoch = n / progress.sequences;
    const int64_t i = n % progress.sequences;
    if (!shuffle_) return {0, i};
    return {0, permuted(i, progress.sequences, mix(seed_) + static_cast<uint64_t>(epoch))};
  }
  if (!shuffle_) {
    if (n < progress.sequences) return {0, n};
    return {n + 1, -1};
  }
  int64_t begin = 0;
  int64_t size = first_block_;
  uint64_t block = 0;
  for (; n >= begin + size; ++block) {
    begin += size;
    size *= 2;
  }
  if (progress.complete) size = std::min(size, progress.sequences - begin);
  if (progress.sequences < begin + size) return {begin + size, -1};
  const uint64_t key = block == 0 ? mix(seed_) : mix(mix(seed_) ^ mix(block));
  return {0, begin + permuted(n - begin, size, key)};
}

}  // namespace galleon

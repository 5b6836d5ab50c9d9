// What the kernels of attention share: which tiles of keys and queries meet, and what is masked in them.
#pragma once

#include <cstdint>

#include "kernels/cuda/simt.h"
#include "kernels/math/random.h"
#include "kernels/operation_table.h"

namespace galleon::cuda {

// Which tile of which head and sequence a block works on. Tiles with most to do come first: with a causal mask the last
// queries see the most keys, and the first keys are seen by the most queries.
struct TileOfHead {
  int64_t sequence_index;
  int64_t head;
  int64_t start;   // of the sequence's rows
  int64_t length;  // how many they are
  int64_t tile;
};
__device__ __forceinline__ TileOfHead tile_of_block(const AttentionExtent& e, int64_t heads, int64_t tiles,
                                                    bool last_first) {
  const int64_t units = e.batch * heads;
  const int64_t unit = blockIdx.x % units;
  const int64_t tile = blockIdx.x / units;
  const int64_t sequence_index = unit / heads;
  const math::SequenceRows rows = e.rows_of(sequence_index);
  return {sequence_index, unit - sequence_index * heads, rows.start, rows.length, last_first ? tiles - 1 - tile : tile};
}

// The keys that some query of [i0, i0 + queries) sees, from a multiple of `tile` on.
struct Range {
  int64_t begin;
  int64_t end;
};
__device__ __forceinline__ Range keys_seen(const DeviceMask& mask, int64_t length, int64_t i0, int64_t queries,
                                           int64_t tile) {
  const int64_t begin = mask.window > 0 && i0 >= mask.window ? (i0 - mask.window + 1) / tile * tile : 0;
  return {begin, mask.causal && i0 + queries < length ? i0 + queries : length};
}
// The queries that see some key of [j0, j0 + keys), from a multiple of `tile` on.
__device__ __forceinline__ Range queries_seeing(const DeviceMask& mask, int64_t length, int64_t j0, int64_t keys,
                                                int64_t tile) {
  const int64_t last = j0 + keys - 1 + mask.window;
  return {mask.causal ? j0 / tile * tile : 0, mask.window > 0 && last < length ? last : length};
}

__device__ __forceinline__ bool sees(const DeviceMask& mask, int64_t length, int64_t i, int64_t j) {
  return i < length && j < length && (!mask.causal || j <= i) && (mask.window == 0 || i - j < mask.window);
}
// Whether every query of [i0, i0 + queries) sees every key of [j0, j0 + keys).
__device__ __forceinline__ bool all_see(const DeviceMask& mask, int64_t length, int64_t i0, int64_t queries, int64_t j0,
                                        int64_t keys) {
  return i0 + queries <= length && j0 + keys <= length && (!mask.causal || j0 + keys <= i0 + 1) &&
         (mask.window == 0 || i0 + queries - 1 - j0 < mask.window);
}

// The number of the probability of query i and key 0 in the random stream.
__device__ __forceinline__ int64_t first_word(const DeviceMask& mask, int64_t unit, int64_t i) {
  return mask.dropout.first + (unit * mask.span + i) * mask.span;
}
__device__ __forceinline__ math::Philox dropout_words(const DeviceMask& mask, int64_t number) {
  return math::philox(mask.dropout.seed, static_cast<uint64_t>(number / 4), mask.dropout.stream);
}
// Word `number` of the stream, from those of its counter, as what a probability is multiplied by: 0 where it is
// dropped.
__device__ __forceinline__ float factor_of_word(const DeviceMask& mask, const math::Philox& words, int64_t number) {
  const int within = static_cast<int>(number % 4);
  const uint32_t low = within == 0 ? words.word[0] : words.word[1];
  const uint32_t high = within == 2 ? words.word[2] : words.word[3];
  return (within < 2 ? low : high) < mask.dropout.threshold ? 0.0F : mask.dropout.scale;
}
__device__ __forceinline__ float dropout_factor(const DeviceMask& mask, int64_t number) {
  return factor_of_word(mask, dropout_words(mask, number), number);
}
// Of word `number` and the one after it.
__device__ __forceinline__ void dropout_factors(const DeviceMask& mask, int64_t number, float& first, float& second) {
  math::Philox words = dropout_words(mask, number);
  first = factor_of_word(mask, words, number);
  if (number % 4 == 3) words = dropout_words(mask, number + 1);
  second = factor_of_word(mask, words, number + 1);
}

// What exponents of a row are relative to; anything where nothing was seen yet.
__device__ __forceinline__ float row_reference(float largest) {
  return largest == -INFINITY ? 0.0F : largest;
}

}  // namespace galleon::cuda

// What the kernels of attention share: their operands, which tiles of keys and queries meet, and what is masked in
// them.
#pragma once

#include <cstdint>

#include "kernels/cuda/simt.h"
#include "kernels/math/random.h"
#include "kernels/math/sequence_rows.h"
#include "kernels/operation_table.h"

namespace galleon::cuda {

// Rows of tokens; head h begins at column h·dimension.
template <typename T>
struct TokenRows {
  T* data;
  int64_t stride;
};

struct AttentionExtent {
  int64_t batch;
  int64_t sequence;
  int64_t heads;
  int64_t group;  // query heads to a key-value head
  int64_t dimension;
  float scale;  // of scores
  AttentionSight sight;

  GALLEON_FORMULA int64_t kv_heads() const { return heads / group; }
  GALLEON_FORMULA math::SequenceRows rows_of(int64_t index) const {
    return math::rows_of_sequence(sight.row_starts, sight.rows, sequence, index);
  }
};

template <typename T>
struct AttentionForward {
  AttentionExtent extent;
  TokenRows<const T> q, k, v;
  TokenRows<T> out;
  float* log_sum;
};

// row_dots: Σ dout·out of every row, batch·heads × sequence as log_sum.
template <typename T>
struct AttentionBackward {
  AttentionExtent extent;
  TokenRows<const T> q, k, v, out, dout;
  TokenRows<T> dq, dk, dv;
  const float* log_sum;
  float* row_dots;
};

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
__device__ __forceinline__ Range keys_seen(const AttentionSight& sight, int64_t length, int64_t i0, int64_t queries,
                                           int64_t tile) {
  const int64_t begin = sight.window > 0 && i0 >= sight.window ? (i0 - sight.window + 1) / tile * tile : 0;
  return {begin, sight.causal && i0 + queries < length ? i0 + queries : length};
}
// The queries that see some key of [j0, j0 + keys), from a multiple of `tile` on.
__device__ __forceinline__ Range queries_seeing(const AttentionSight& sight, int64_t length, int64_t j0, int64_t keys,
                                                int64_t tile) {
  const int64_t last = j0 + keys - 1 + sight.window;
  return {sight.causal ? j0 / tile * tile : 0, sight.window > 0 && last < length ? last : length};
}

__device__ __forceinline__ bool sees(const AttentionSight& sight, int64_t length, int64_t i, int64_t j) {
  return i < length && j < length && (!sight.causal || j <= i) && (sight.window == 0 || i - j < sight.window);
}
// Whether every query of [i0, i0 + queries) sees every key of [j0, j0 + keys).
__device__ __forceinline__ bool all_see(const AttentionSight& sight, int64_t length, int64_t i0, int64_t queries,
                                        int64_t j0, int64_t keys) {
  return i0 + queries <= length && j0 + keys <= length && (!sight.causal || j0 + keys <= i0 + 1) &&
         (sight.window == 0 || i0 + queries - 1 - j0 < sight.window);
}

// The number of the probability of query i and key 0 in the random stream.
__device__ __forceinline__ int64_t first_word(const AttentionSight& sight, int64_t unit, int64_t i) {
  return sight.first + (unit * sight.span + i) * sight.span;
}
__device__ __forceinline__ math::Philox dropout_words(const AttentionSight& sight, int64_t number) {
  return math::philox(sight.seed, static_cast<uint64_t>(number / 4), sight.stream);
}
// Word `number` of the stream, from those of its counter, as what a probability is multiplied by: 0 where it is
// dropped.
__device__ __forceinline__ float factor_of_word(const AttentionSight& sight, const math::Philox& words,
                                                int64_t number) {
  const int within = static_cast<int>(number % 4);
  const uint32_t low = within == 0 ? words.word[0] : words.word[1];
  const uint32_t high = within == 2 ? words.word[2] : words.word[3];
  return (within < 2 ? low : high) < sight.threshold ? 0.0F : sight.scale;
}
__device__ __forceinline__ float dropout_factor(const AttentionSight& sight, int64_t number) {
  return factor_of_word(sight, dropout_words(sight, number), number);
}
// Of word `number` and the one after it.
__device__ __forceinline__ void dropout_factors(const AttentionSight& sight, int64_t number, float& first,
                                                float& second) {
  math::Philox words = dropout_words(sight, number);
  first = factor_of_word(sight, words, number);
  if (number % 4 == 3) words = dropout_words(sight, number + 1);
  second = factor_of_word(sight, words, number + 1);
}

// What exponents of a row are relative to; anything where nothing was seen yet.
__device__ __forceinline__ float row_reference(float largest) {
  return largest == -INFINITY ? 0.0F : largest;
}

}  // namespace galleon::cuda

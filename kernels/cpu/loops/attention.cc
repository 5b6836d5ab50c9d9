// Attention in blocks of queries and keys with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022). A
// (sequence, head) is the unit that threads share; its blocks' products run on the thread that owns it.
#include <cblas.h>

#include "kernels/cpu/loops/loops.h"
#include "kernels/math/exponential.h"
#include "kernels/math/random.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kBlock = 64;  // queries and keys of a block; its scores are 16 KiB

// c ← alpha·op(a)·op(b) + beta·c on the calling thread.
GALLEON_FORMULA void product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                             const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
                             int64_t ldc) {
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
              static_cast<blasint>(m), static_cast<blasint>(n), static_cast<blasint>(k), alpha, a,
              static_cast<blasint>(lda), b, static_cast<blasint>(ldb), beta, c, static_cast<blasint>(ldc));
}

// Products are in fp32: a tile of bf16 numbers is converted into a buffer first, one of fp32 numbers is used in place.
constexpr int64_t kMostDimension = 256;  // of a head, as ops/attention.cc checks
constexpr int64_t kTile = kBlock * kMostDimension;

struct Tile {
  const float* data;
  int64_t stride;
};
GALLEON_FORMULA Tile tile(const float* x, int64_t ldx, int64_t, int64_t, float*) {
  return {x, ldx};
}
GALLEON_FORMULA Tile tile(const BFloat16* x, int64_t ldx, int64_t rows, int64_t columns, float* buffer) {
  for (int64_t r = 0; r < rows; ++r) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) buffer[r * columns + c] = math::to_float(x[r * ldx + c]);
  }
  return {buffer, columns};
}

// Where sums over tiles are formed: in place, or in a buffer that is stored when they are complete.
struct Sum {
  float* data;
  int64_t stride;
};
GALLEON_FORMULA Sum sum_for(float* x, int64_t ldx, int64_t, float*) {
  return {x, ldx};
}
GALLEON_FORMULA Sum sum_for(BFloat16*, int64_t, int64_t columns, float* buffer) {
  return {buffer, columns};
}
GALLEON_FORMULA void store_sum(const Sum&, int64_t, int64_t, float*, int64_t) {}
GALLEON_FORMULA void store_sum(const Sum& sum, int64_t rows, int64_t columns, BFloat16* x, int64_t ldx) {
  for (int64_t r = 0; r < rows; ++r) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) math::store(x[r * ldx + c], sum.data[r * sum.stride + c]);
  }
}

GALLEON_FORMULA int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// The first block of keys that some query of the block at i0 sees.
GALLEON_FORMULA int64_t first_block(const DeviceMask& mask, int64_t i0) {
  if (mask.window == 0 || i0 < mask.window) return 0;
  return (i0 - mask.window + 1) / kBlock * kBlock;
}

constexpr int64_t kCounters = kBlock / 4 + 1;  // of random words, four each, that a row of a block may touch

// What the probabilities of one query are multiplied by: 0 where they are dropped. `unit`: the sequence and head; the
// first of the `keys` is j0.
GALLEON_FORMULA void dropout_factors(const DeviceMask& mask, int64_t unit, int64_t i, int64_t j0, int64_t keys,
                                     float* factors) {
  const DropoutWords& of = mask.dropout;
  const int64_t number = of.first + (unit * mask.span + i) * mask.span + j0;
  const int64_t counter = number / 4;
  uint32_t words[4 * kCounters];
#pragma omp simd
  for (int64_t c = 0; c < kCounters; ++c) {
    const math::Philox p = math::philox(of.seed, static_cast<uint64_t>(counter + c), of.stream);
    words[4 * c] = p.word[0];
    words[4 * c + 1] = p.word[1];
    words[4 * c + 2] = p.word[2];
    words[4 * c + 3] = p.word[3];
  }
  const uint32_t* own = words + number % 4;
#pragma omp simd
  for (int64_t c = 0; c < keys; ++c) factors[c] = own[c] < of.threshold ? 0.0F : of.scale;
}

// Where the numbers of a query head lie, or those of a key-value head.
struct Head {
  int64_t start;   // of the sequence's rows
  int64_t length;  // how many they are
  int64_t column;  // of q, out and their gradients
  int64_t kv_column;
};
GALLEON_FORMULA Head head_of(const AttentionExtent& e, int64_t sequence_index, int64_t head) {
  const math::SequenceRows rows = e.rows_of(sequence_index);
  return {rows.start, rows.length, head * e.dimension, head / e.group * e.dimension};
}

// Numbers [begin, end) of the rows or columns of a block.
struct Range {
  int64_t begin;
  int64_t end;
};

// The memory of a thread that computes the output of queries, block by block.
struct ForwardTiles {
  alignas(64) float scores[kBlock * kBlock];  // (queries, keys)
  alignas(64) float q[kTile];
  alignas(64) float kv[kTile];  // keys, then values
  alignas(64) float o[kTile];
  float largest[kBlock];  // score of each query
  float total[kBlock];    // of its exponentials, relative to that
};

// Of the block of keys at j0, those that query i sees.
GALLEON_FORMULA Range keys_seen(const DeviceMask& mask, int64_t i, int64_t j0, int64_t keys) {
  const int64_t visible = mask.causal ? smaller(keys, i - j0 + 1) : keys;
  const int64_t outside = mask.window > 0 ? i - mask.window + 1 - j0 : 0;
  return {outside > 0 ? smaller(outside, keys) : 0, visible};
}

// A query's scores s (keys) become exponentials relative to the largest so far, 0 where it sees nothing. Returns what
// its earlier sums shrink by.
GALLEON_FORMULA float add_to_softmax(int64_t keys, Range seen, float* s, float& largest, float& total) {
  float highest = largest;
#pragma omp simd reduction(max : highest)
  for (int64_t c = seen.begin; c < seen.end; ++c) highest = s[c] > highest ? s[c] : highest;
  const float shrink = math::exponential_of_negative(largest - highest);
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = seen.begin; c < seen.end; ++c) {
    const float e = math::exponential_of_negative(s[c] - highest);
    s[c] = e;
    sum += e;
  }
  for (int64_t c = seen.end; c < keys; ++c) s[c] = 0.0F;
  total = total * shrink + sum;
  largest = highest;
  return shrink;
}

// out of the queries at i0, and the logarithms of their sums. unit: sequence and head.
template <typename T>
GALLEON_FORMULA void forward_of_queries(const AttentionForward<T>& args, const Head& at, int64_t unit, int64_t i0,
                                        ForwardTiles& tiles) {
  const AttentionExtent& e = args.extent;
  const DeviceMask& mask = e.mask;
  const int64_t dimension = e.dimension;
  const int64_t queries = smaller(kBlock, at.length - i0);
  const int64_t first = first_block(mask, i0);
  const int64_t end = mask.causal ? i0 + queries : at.length;
  const Tile q = tile(args.q.row(at.start + i0) + at.column, args.q.stride, queries, dimension, tiles.q);
  T* out = args.out.row(at.start + i0) + at.column;
  const Sum sums = sum_for(out, args.out.stride, dimension, tiles.o);
  float* o = sums.data;
  for (int64_t r = 0; r < queries; ++r) {
    tiles.largest[r] = -__builtin_inff();
    tiles.total[r] = 0.0F;
  }
  for (int64_t j0 = first; j0 < end; j0 += kBlock) {
    const int64_t keys = smaller(kBlock, end - j0);
    const Tile k = tile(args.k.row(at.start + j0) + at.kv_column, args.k.stride, keys, dimension, tiles.kv);
    product(false, true, queries, keys, dimension, e.scale, q.data, q.stride, k.data, k.stride, 0.0F, tiles.scores,
            kBlock);
    for (int64_t r = 0; r < queries; ++r) {
      const Range seen = keys_seen(mask, i0 + r, j0, keys);
      float* s = tiles.scores + r * kBlock;
      for (int64_t c = 0; c < seen.begin; ++c) s[c] = 0.0F;
      if (seen.begin == keys) continue;
      const float shrink = add_to_softmax(keys, seen, s, tiles.largest[r], tiles.total[r]);
      if (mask.dropout.threshold != 0) {
        float factors[kBlock];
        dropout_factors(mask, unit, i0 + r, j0, keys, factors);
#pragma omp simd
        for (int64_t c = 0; c < keys; ++c) s[c] *= factors[c];
      }
      if (j0 > first && shrink != 1.0F) {
#pragma omp simd
        for (int64_t d = 0; d < dimension; ++d) o[r * sums.stride + d] *= shrink;
      }
    }
    const Tile v = tile(args.v.row(at.start + j0) + at.kv_column, args.v.stride, keys, dimension, tiles.kv);
    product(false, false, queries, dimension, keys, 1.0F, tiles.scores, kBlock, v.data, v.stride,
            j0 > first ? 1.0F : 0.0F, o, sums.stride);
  }
  float* logs = args.log_sum + unit * e.sequence + i0;
  for (int64_t r = 0; r < queries; ++r) {
    const float inverse = 1.0F / tiles.total[r];
#pragma omp simd
    for (int64_t d = 0; d < dimension; ++d) o[r * sums.stride + d] *= inverse;
    logs[r] = tiles.largest[r] + __builtin_logf(tiles.total[r]);
  }
  store_sum(sums, queries, dimension, out, args.out.stride);
}

// q, out (B·T, H·D), k, v (B·T, K·D), log_sum (B·H, T)
template <typename T>
void attention(const Execution& on, const AttentionForward<T>& args) {
  const AttentionExtent& e = args.extent;
  const bool parallel = worth_threads(e.batch * e.heads * e.sequence * e.sequence * e.dimension, 50);
  use_openmp_threads(1);  // products of tiles stay on the thread that has the tile
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 1) if (parallel)
  for (int64_t unit = 0; unit < e.batch * e.heads; ++unit) {
    const Head at = head_of(e, unit / e.heads, unit % e.heads);
    ForwardTiles tiles;
    for (int64_t i0 = 0; i0 < at.length; i0 += kBlock) forward_of_queries(args, at, unit, i0, tiles);
    for (int64_t i = at.length; i < e.sequence; ++i) args.log_sum[unit * e.sequence + i] = 0.0F;
  }
}

// One pass over the keys and one over the values, each read once. q, out (B, H·D), k, v (B·T, K·D), scores (B·H, T)
template <typename T>
void attention_of_last(const Execution& on, const AttentionOfLast<T>& args) {
  const AttentionExtent& e = args.extent;
  const int64_t dimension = e.dimension;
  const bool parallel = worth_threads(e.batch * e.heads * (e.sequence - args.first) * dimension, 100);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (parallel)
  for (int64_t unit = 0; unit < e.batch * e.heads; ++unit) {
    const Head at = head_of(e, unit / e.heads, unit % e.heads);
    const T* q = args.q.row(unit / e.heads) + at.column;
    float* scores = args.scores + unit * e.sequence;
    alignas(64) float query[kMostDimension];
    alignas(64) float sums[kMostDimension];
    for (int64_t d = 0; d < dimension; ++d) {
      query[d] = e.scale * math::load(q[d]);
      sums[d] = 0.0F;
    }
    float highest = -__builtin_inff();
    for (int64_t j = args.first; j < e.sequence; ++j) {
      const T* key = args.k.row(at.start + j) + at.kv_column;
      float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
      for (int64_t d = 0; d < dimension; ++d) dot += query[d] * math::load(key[d]);
      scores[j] = dot;
      highest = dot > highest ? dot : highest;
    }
    float total = 0.0F;
    for (int64_t j = args.first; j < e.sequence; ++j) {
      const T* value = args.v.row(at.start + j) + at.kv_column;
      const float p = math::exponential_of_negative(scores[j] - highest);
      total += p;
#pragma omp simd
      for (int64_t d = 0; d < dimension; ++d) sums[d] += p * math::load(value[d]);
    }
    const float inverse = 1.0F / total;
    T* o = args.out.row(unit / e.heads) + at.column;
    for (int64_t d = 0; d < dimension; ++d) math::store(o[d], sums[d] * inverse);
  }
}

// A dot product for every row, and in bf16 the sums of dq, whose tiles are visited once for every block of keys.
template <typename T>
int64_t attention_backward_workspace(int64_t batch, int64_t sequence, int64_t heads, int64_t, int64_t dimension) {
  const int64_t numbers = sizeof(T) == sizeof(float) ? 1 : 1 + dimension;
  return batch * heads * sequence * numbers * static_cast<int64_t>(sizeof(float));
}

// The memory of a thread that computes gradients, a block of keys and one of queries at a time. Scores lie with a key
// to a row, so that all products but the last read them as they are.
struct BackwardTiles {
  alignas(64) float probabilities[kBlock * kBlock];  // (keys, queries), as these
  alignas(64) float gradients[kBlock * kBlock];
  alignas(64) float kept[kBlock * kBlock];  // what dropout multiplies by
  alignas(64) float k[kTile];
  alignas(64) float v[kTile];
  alignas(64) float q[kTile];
  alignas(64) float dout[kTile];
  alignas(64) float dk[kTile];
  alignas(64) float dv[kTile];
};

// row_dots of a query head: Σ dout·out of every row.
template <typename T>
GALLEON_FORMULA void dots_of_rows(const AttentionBackward<T>& args, const Head& at, float* dots) {
  for (int64_t t = 0; t < at.length; ++t) {
    const T* a = args.dout.row(at.start + t) + at.column;
    const T* b = args.out.row(at.start + t) + at.column;
    float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
    for (int64_t d = 0; d < args.extent.dimension; ++d) dot += math::load(a[d]) * math::load(b[d]);
    dots[t] = dot;
  }
}

// Of the block of queries at i0, those that see key j: neither queries before it nor those whose window it has left.
GALLEON_FORMULA Range queries_seeing(const DeviceMask& mask, int64_t j, int64_t i0, int64_t queries) {
  const int64_t hidden = mask.causal ? smaller(queries, j > i0 ? j - i0 : 0) : 0;
  const int64_t beyond = mask.window > 0 ? j + mask.window - i0 : queries;
  return {hidden, smaller(queries, beyond > hidden ? beyond : hidden)};
}

// The factors of dropout for a block at (i0, j0), a key to a row.
GALLEON_FORMULA void kept_by_keys(const DeviceMask& mask, int64_t unit, int64_t i0, int64_t queries, int64_t j0,
                                  int64_t keys, float* kept) {
  for (int64_t r = 0; r < queries; ++r) {
    float factors[kBlock];
    dropout_factors(mask, unit, i0 + r, j0, keys, factors);
    for (int64_t c = 0; c < keys; ++c) kept[c * kBlock + r] = factors[c];
  }
}

// A key's scores p (queries) become probabilities and the gradients g of the probabilities those of the scores. log,
// dot: of the queries; kept: what dropout multiplies by, or null.
GALLEON_FORMULA void backward_of_scores(int64_t queries, Range seeing, float scale, const float* log, const float* dot,
                                        const float* kept, float* p, float* g) {
  for (int64_t r = 0; r < seeing.begin; ++r) {
    p[r] = 0.0F;
    g[r] = 0.0F;
  }
  for (int64_t r = seeing.end; r < queries; ++r) {
    p[r] = 0.0F;
    g[r] = 0.0F;
  }
  if (kept != nullptr) {
#pragma omp simd
    for (int64_t r = seeing.begin; r < seeing.end; ++r) {
      const float e = math::exponential_of_negative(p[r] - log[r]);
      p[r] = e * kept[r];
      g[r] = e * (g[r] * kept[r] - dot[r]) * scale;
    }
    return;
  }
#pragma omp simd
  for (int64_t r = seeing.begin; r < seeing.end; ++r) {
    const float e = math::exponential_of_negative(p[r] - log[r]);
    p[r] = e;
    g[r] = e * (g[r] - dot[r]) * scale;
  }
}

// The keys at j0 of a key-value head: their dk and dv, and what they add to dq, from the queries of every head of the
// group. dq_sums: (B·H, T, D), where sums in fp32 lie beside dq.
template <typename T>
GALLEON_FORMULA void backward_of_keys(const AttentionBackward<T>& args, int64_t sequence_index, int64_t kv_head,
                                      int64_t j0, float* dq_sums, BackwardTiles& tiles) {
  const AttentionExtent& e = args.extent;
  const DeviceMask& mask = e.mask;
  const int64_t dimension = e.dimension;
  const Head first = head_of(e, sequence_index, kv_head * e.group);
  const int64_t length = first.length;
  const int64_t last_block = (length - 1) / kBlock * kBlock;
  const int64_t keys = smaller(kBlock, length - j0);
  const int64_t first_queries = mask.causal ? j0 : 0;
  const int64_t key_row = first.start + j0;
  const Tile k = tile(args.k.row(key_row) + first.kv_column, args.k.stride, keys, dimension, tiles.k);
  const Tile v = tile(args.v.row(key_row) + first.kv_column, args.v.stride, keys, dimension, tiles.v);
  T* dk_end = args.dk.row(key_row) + first.kv_column;
  T* dv_end = args.dv.row(key_row) + first.kv_column;
  const Sum dk = sum_for(dk_end, args.dk.stride, dimension, tiles.dk);
  const Sum dv = sum_for(dv_end, args.dv.stride, dimension, tiles.dv);
  bool begun = false;  // dk and dv hold something
  for (int64_t h = kv_head * e.group; h < (kv_head + 1) * e.group; ++h) {
    const Head at = head_of(e, sequence_index, h);
    const int64_t unit = sequence_index * e.heads + h;
    const float* dots = args.row_dots + unit * e.sequence;
    const float* logs = args.log_sum + unit * e.sequence;
    for (int64_t i0 = first_queries; i0 < length && first_block(mask, i0) <= j0; i0 += kBlock) {
      const int64_t queries = smaller(kBlock, length - i0);
      const int64_t row = at.start + i0;
      const Tile q = tile(args.q.row(row) + at.column, args.q.stride, queries, dimension, tiles.q);
      const Tile dout = tile(args.dout.row(row) + at.column, args.dout.stride, queries, dimension, tiles.dout);
      T* dq_end = args.dq.row(row) + at.column;
      const Sum dq = sum_for(dq_end, args.dq.stride, dimension, dq_sums + (unit * e.sequence + i0) * dimension);
      product(false, true, keys, queries, dimension, e.scale, k.data, k.stride, q.data, q.stride, 0.0F,
              tiles.probabilities, kBlock);
      product(false, true, keys, queries, dimension, 1.0F, v.data, v.stride, dout.data, dout.stride, 0.0F,
              tiles.gradients, kBlock);
      const bool drops = mask.dropout.threshold != 0;
      if (drops) kept_by_keys(mask, unit, i0, queries, j0, keys, tiles.kept);
      for (int64_t c = 0; c < keys; ++c) {
        backward_of_scores(queries, queries_seeing(mask, j0 + c, i0, queries), e.scale, logs + i0, dots + i0,
                           drops ? tiles.kept + c * kBlock : nullptr, tiles.probabilities + c * kBlock,
                           tiles.gradients + c * kBlock);
      }
      const float more = begun ? 1.0F : 0.0F;
      product(false, false, keys, dimension, queries, 1.0F, tiles.probabilities, kBlock, dout.data, dout.stride, more,
              dv.data, dv.stride);
      product(false, false, keys, dimension, queries, 1.0F, tiles.gradients, kBlock, q.data, q.stride, more, dk.data,
              dk.stride);
      begun = true;
      product(true, false, queries, dimension, keys, 1.0F, tiles.gradients, kBlock, k.data, k.stride,
              j0 == first_block(mask, i0) ? 0.0F : 1.0F, dq.data, dq.stride);
      // Queries of this block see no later keys.
      if (j0 == (mask.causal ? i0 : last_block)) store_sum(dq, queries, dimension, dq_end, args.dq.stride);
    }
  }
  store_sum(dk, keys, dimension, dk_end, args.dk.stride);
  store_sum(dv, keys, dimension, dv_end, args.dv.stride);
}

// With P = exp(S − log_sum), M what dropout multiplies it by and D = Σ dout·out by rows: dV = (P∘M)ᵀ·dout, dS =
// P∘(M∘(dout·Vᵀ) − D)·scale, dQ = dS·K, dK = dSᵀ·Q. One thread owns a key-value head of a sequence with all its query
// heads, so every sum has one order. q, out, dout, dq (B·T, H·D), k, v, dk, dv (B·T, K·D), log_sum (B·H, T)
template <typename T>
void attention_backward(const Execution& on, const AttentionBackward<T>& args) {
  const AttentionExtent& e = args.extent;
  const int64_t kv_heads = e.kv_heads();
  float* dq_sums = args.row_dots + e.batch * e.heads * e.sequence;
  const bool parallel = worth_threads(e.batch * e.heads * e.sequence * e.sequence * e.dimension, 100);
  use_openmp_threads(1);  // products of tiles stay on the thread that has the tile
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 1) if (parallel)
  for (int64_t unit = 0; unit < e.batch * kv_heads; ++unit) {
    const int64_t sequence_index = unit / kv_heads;
    const int64_t kv_head = unit % kv_heads;
    const int64_t length = e.rows_of(sequence_index).length;
    BackwardTiles tiles;
    for (int64_t h = kv_head * e.group; h < (kv_head + 1) * e.group; ++h) {
      dots_of_rows(args, head_of(e, sequence_index, h), args.row_dots + (sequence_index * e.heads + h) * e.sequence);
    }
    for (int64_t j0 = 0; j0 < length; j0 += kBlock) backward_of_keys(args, sequence_index, kv_head, j0, dq_sums, tiles);
  }
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.attention = attention<T>;
  table.attention_of_last = attention_of_last<T>;
  table.attention_backward = attention_backward<T>;
  table.attention_backward_workspace = attention_backward_workspace<T>;
}

}  // namespace

void fill_attention(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
}

}  // namespace galleon::cpu::GALLEON_ISA

// Attention in blocks of queries and keys with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022). A
// (sequence, head) is the unit that threads share; its blocks' products run on the thread that owns it.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/exponential.h"
#include "kernels/math/random.h"
#include "kernels/math/rotary.h"
#include "kernels/math/sequence_rows.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kBlock = 64;  // queries and keys of a block; its scores are 16 KiB

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
GALLEON_FORMULA int64_t first_block(const AttentionSight& sight, int64_t i0) {
  if (sight.window == 0 || i0 < sight.window) return 0;
  return (i0 - sight.window + 1) / kBlock * kBlock;
}

constexpr int64_t kCounters = kBlock / 4 + 1;  // of random words, four each, that a row of a block may touch

// What the probabilities of one query are multiplied by: 0 where they are dropped. `element`: number of the first.
GALLEON_FORMULA void dropout_factors(const AttentionSight& sight, int64_t element, int64_t keys, float* factors) {
  const int64_t counter = element / 4;
  uint32_t words[4 * kCounters];
#pragma omp simd
  for (int64_t c = 0; c < kCounters; ++c) {
    const math::Philox p = math::philox(sight.seed, static_cast<uint64_t>(counter + c), sight.stream);
    words[4 * c] = p.word[0];
    words[4 * c + 1] = p.word[1];
    words[4 * c + 2] = p.word[2];
    words[4 * c + 3] = p.word[3];
  }
  const uint32_t* own = words + element % 4;
#pragma omp simd
  for (int64_t c = 0; c < keys; ++c) factors[c] = own[c] < sight.threshold ? 0.0F : sight.scale;
}

void rotary_table(const Execution& on, int64_t sequence, int64_t dimension, const double* frequencies, double factor,
                  float* table, int64_t ldt) {
  const int64_t half = dimension / 2;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (sequence * half > 1024)
  for (int64_t position = 0; position < sequence; ++position) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * frequencies[i];
      table[position * ldt + i] = static_cast<float>(factor * __builtin_cos(angle));
      table[position * ldt + half + i] = static_cast<float>(factor * __builtin_sin(angle));
    }
  }
}

template <typename T>
void rotary(const Execution& on, int64_t tokens, int64_t sequence, int64_t heads, int64_t dimension, T* x, int64_t ldx,
            const float* table, int64_t ldt, bool backward) {
  const int64_t half = dimension / 2;
  const float sign = backward ? -1.0F : 1.0F;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(tokens * heads * dimension, 150))
  for (int64_t t = 0; t < tokens; ++t) {
    const float* cosine = table + t % sequence * ldt;
    const float* sine = cosine + half;
    for (int64_t h = 0; h < heads; ++h) {
      T* first = x + t * ldx + h * dimension;
      T* second = first + half;
#pragma omp simd
      for (int64_t i = 0; i < half; ++i) {
        float a = math::load(first[i]);
        float b = math::load(second[i]);
        math::rotate(a, b, cosine[i], sign * sine[i]);
        math::store(first[i], a);
        math::store(second[i], b);
      }
    }
  }
}

template <typename T>
void attention(const Execution& on, int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads, int64_t dimension,
               const AttentionSight& sight, const T* q, int64_t ldq, const T* k, int64_t ldk, const T* v, int64_t ldv,
               T* out, int64_t ldo, float* log_sum) {
  const int64_t group = heads / kv_heads;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(dimension));
  const bool parallel = worth_threads(batch * heads * sequence * sequence * dimension, 50);
  use_openmp_threads(1);  // products of tiles stay on the thread that has the tile
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 1) if (parallel)
  for (int64_t unit = 0; unit < batch * heads; ++unit) {
    const auto [start, length] = math::rows_of_sequence(sight.row_starts, sight.rows, sequence, unit / heads);
    const int64_t head = unit % heads;
    const T* q_head = q + start * ldq + head * dimension;
    const T* k_head = k + start * ldk + head / group * dimension;
    const T* v_head = v + start * ldv + head / group * dimension;
    T* o_head = out + start * ldo + head * dimension;
    float* logs = log_sum + unit * sequence;
    alignas(64) float scores[kBlock * kBlock];
    alignas(64) float q_buffer[kTile];
    alignas(64) float k_buffer[kTile];  // keys, then values
    alignas(64) float o_buffer[kTile];
    float largest[kBlock];
    float total[kBlock];
    for (int64_t i0 = 0; i0 < length; i0 += kBlock) {
      const int64_t queries = smaller(kBlock, length - i0);
      const int64_t first = first_block(sight, i0);
      const int64_t end = sight.causal ? i0 + queries : length;
      const Tile qi = tile(q_head + i0 * ldq, ldq, queries, dimension, q_buffer);
      const Sum sums = sum_for(o_head + i0 * ldo, ldo, dimension, o_buffer);
      float* o = sums.data;
      for (int64_t r = 0; r < queries; ++r) {
        largest[r] = -__builtin_inff();
        total[r] = 0.0F;
      }
      for (int64_t j0 = first; j0 < end; j0 += kBlock) {
        const int64_t keys = smaller(kBlock, end - j0);
        const Tile kj = tile(k_head + j0 * ldk, ldk, keys, dimension, k_buffer);
        product(false, true, queries, keys, dimension, scale, qi.data, qi.stride, kj.data, kj.stride, 0.0F, scores,
                kBlock);
        for (int64_t r = 0; r < queries; ++r) {
          // Of this block the query sees the keys from `hidden` to `visible`.
          const int64_t visible = sight.causal ? smaller(keys, i0 + r - j0 + 1) : keys;
          const int64_t outside = sight.window > 0 ? i0 + r - sight.window + 1 - j0 : 0;
          const int64_t hidden = outside > 0 ? smaller(outside, keys) : 0;
          float* s = scores + r * kBlock;
          for (int64_t c = 0; c < hidden; ++c) s[c] = 0.0F;
          if (hidden == keys) continue;
          float highest = largest[r];
#pragma omp simd reduction(max : highest)
          for (int64_t c = hidden; c < visible; ++c) highest = s[c] > highest ? s[c] : highest;
          const float shrink = math::exponential_of_negative(largest[r] - highest);
          float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
          for (int64_t c = hidden; c < visible; ++c) {
            const float e = math::exponential_of_negative(s[c] - highest);
            s[c] = e;
            sum += e;
          }
          for (int64_t c = visible; c < keys; ++c) s[c] = 0.0F;
          total[r] = total[r] * shrink + sum;
          largest[r] = highest;
          if (sight.threshold != 0) {
            float factors[kBlock];
            dropout_factors(sight, sight.first + (unit * sight.span + i0 + r) * sight.span + j0, keys, factors);
#pragma omp simd
            for (int64_t c = 0; c < keys; ++c) s[c] *= factors[c];
          }
          if (j0 > first && shrink != 1.0F) {
#pragma omp simd
            for (int64_t d = 0; d < dimension; ++d) o[r * sums.stride + d] *= shrink;
          }
        }
        const Tile vj = tile(v_head + j0 * ldv, ldv, keys, dimension, k_buffer);
        product(false, false, queries, dimension, keys, 1.0F, scores, kBlock, vj.data, vj.stride,
                j0 > first ? 1.0F : 0.0F, o, sums.stride);
      }
      for (int64_t r = 0; r < queries; ++r) {
        const float inverse = 1.0F / total[r];
#pragma omp simd
        for (int64_t d = 0; d < dimension; ++d) o[r * sums.stride + d] *= inverse;
        logs[i0 + r] = largest[r] + __builtin_logf(total[r]);
      }
      store_sum(sums, queries, dimension, o_head + i0 * ldo, ldo);
    }
    for (int64_t i = length; i < sequence; ++i) logs[i] = 0.0F;
  }
}

// One pass over the keys and one over the values, each read once.
template <typename T>
void attention_of_last(const Execution& on, int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads,
                       int64_t dimension, int64_t first, const T* q, int64_t ldq, const T* k, int64_t ldk, const T* v,
                       int64_t ldv, T* out, int64_t ldo, void* scratch) {
  const int64_t group = heads / kv_heads;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(dimension));
  auto* all_scores = static_cast<float*>(scratch);
  const bool parallel = worth_threads(batch * heads * (sequence - first) * dimension, 100);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (parallel)
  for (int64_t unit = 0; unit < batch * heads; ++unit) {
    const int64_t head = unit % heads;
    const int64_t start = unit / heads * sequence;
    const T* k_head = k + start * ldk + head / group * dimension;
    const T* v_head = v + start * ldv + head / group * dimension;
    float* scores = all_scores + unit * sequence;
    alignas(64) float query[kMostDimension];
    alignas(64) float sums[kMostDimension];
    for (int64_t d = 0; d < dimension; ++d) {
      query[d] = scale * math::load(q[unit / heads * ldq + head * dimension + d]);
      sums[d] = 0.0F;
    }
    float highest = -__builtin_inff();
    for (int64_t j = first; j < sequence; ++j) {
      const T* key = k_head + j * ldk;
      float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
      for (int64_t d = 0; d < dimension; ++d) dot += query[d] * math::load(key[d]);
      scores[j] = dot;
      highest = dot > highest ? dot : highest;
    }
    float total = 0.0F;
    for (int64_t j = first; j < sequence; ++j) {
      const T* value = v_head + j * ldv;
      const float e = math::exponential_of_negative(scores[j] - highest);
      total += e;
#pragma omp simd
      for (int64_t d = 0; d < dimension; ++d) sums[d] += e * math::load(value[d]);
    }
    const float inverse = 1.0F / total;
    T* o = out + unit / heads * ldo + head * dimension;
    for (int64_t d = 0; d < dimension; ++d) math::store(o[d], sums[d] * inverse);
  }
}

// A dot product for every row, and in bf16 the sums of dq, whose tiles are visited once for every block of keys.
template <typename T>
int64_t attention_backward_workspace(int64_t batch, int64_t sequence, int64_t heads, int64_t, int64_t dimension) {
  const int64_t numbers = sizeof(T) == sizeof(float) ? 1 : 1 + dimension;
  return batch * heads * sequence * numbers * static_cast<int64_t>(sizeof(float));
}

// With P = exp(S − log_sum), M what dropout multiplies it by and D = Σ dout·out by rows: dV = (P∘M)ᵀ·dout, dS =
// P∘(M∘(dout·Vᵀ) − D)·scale, dQ = dS·K, dK = dSᵀ·Q. One thread owns a key-value head of a sequence with all its query
// heads, so every sum has one order.
template <typename T>
void attention_backward(const Execution& on, int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads,
                        int64_t dimension, const AttentionSight& sight, const T* q, int64_t ldq, const T* k,
                        int64_t ldk, const T* v, int64_t ldv, const T* out, int64_t ldo, const float* log_sum,
                        const T* dout, int64_t lddo, T* dq, int64_t lddq, T* dk, int64_t lddk, T* dv, int64_t lddv,
                        void* scratch) {
  const int64_t group = heads / kv_heads;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(dimension));
  float* row_dots = static_cast<float*>(scratch);
  float* dq_sums = row_dots + batch * heads * sequence;
  const bool parallel = worth_threads(batch * heads * sequence * sequence * dimension, 100);
  use_openmp_threads(1);  // products of tiles stay on the thread that has the tile
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 1) if (parallel)
  for (int64_t unit = 0; unit < batch * kv_heads; ++unit) {
    const int64_t sequence_index = unit / kv_heads;
    const auto [start, length] = math::rows_of_sequence(sight.row_starts, sight.rows, sequence, sequence_index);
    const int64_t kv_head = unit % kv_heads;
    const int64_t last_block = (length - 1) / kBlock * kBlock;
    alignas(64) float probabilities[kBlock * kBlock];
    alignas(64) float gradients[kBlock * kBlock];
    alignas(64) float k_buffer[kTile];
    alignas(64) float v_buffer[kTile];
    alignas(64) float q_buffer[kTile];
    alignas(64) float do_buffer[kTile];
    alignas(64) float dk_buffer[kTile];
    alignas(64) float dv_buffer[kTile];
    alignas(64) float kept[kBlock * kBlock];  // what dropout multiplies by, a key to a row
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      float* dots = row_dots + (sequence_index * heads + h) * sequence;
      for (int64_t t = 0; t < length; ++t) {
        const T* a = dout + (start + t) * lddo + h * dimension;
        const T* b = out + (start + t) * ldo + h * dimension;
        float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
        for (int64_t d = 0; d < dimension; ++d) dot += math::load(a[d]) * math::load(b[d]);
        dots[t] = dot;
      }
    }
    for (int64_t j0 = 0; j0 < length; j0 += kBlock) {
      const int64_t keys = smaller(kBlock, length - j0);
      const int64_t first_queries = sight.causal ? j0 : 0;
      const Tile kj = tile(k + (start + j0) * ldk + kv_head * dimension, ldk, keys, dimension, k_buffer);
      const Tile vj = tile(v + (start + j0) * ldv + kv_head * dimension, ldv, keys, dimension, v_buffer);
      T* dk_end = dk + (start + j0) * lddk + kv_head * dimension;
      T* dv_end = dv + (start + j0) * lddv + kv_head * dimension;
      const Sum dkj = sum_for(dk_end, lddk, dimension, dk_buffer);
      const Sum dvj = sum_for(dv_end, lddv, dimension, dv_buffer);
      for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
        const float* dots = row_dots + (sequence_index * heads + h) * sequence;
        const float* logs = log_sum + (sequence_index * heads + h) * sequence;
        for (int64_t i0 = first_queries; i0 < length && first_block(sight, i0) <= j0; i0 += kBlock) {
          const int64_t queries = smaller(kBlock, length - i0);
          const Tile qi = tile(q + (start + i0) * ldq + h * dimension, ldq, queries, dimension, q_buffer);
          const Tile doi = tile(dout + (start + i0) * lddo + h * dimension, lddo, queries, dimension, do_buffer);
          const Sum dqi = sum_for(dq + (start + i0) * lddq + h * dimension, lddq, dimension,
                                  dq_sums + ((sequence_index * heads + h) * sequence + i0) * dimension);
          // Scores lie with a key to a row, so that all products but the last read them as they are.
          product(false, true, keys, queries, dimension, scale, kj.data, kj.stride, qi.data, qi.stride, 0.0F,
                  probabilities, kBlock);
          product(false, true, keys, queries, dimension, 1.0F, vj.data, vj.stride, doi.data, doi.stride, 0.0F,
                  gradients, kBlock);
          if (sight.threshold != 0) {
            const int64_t row = (sequence_index * heads + h) * sight.span + i0;
            for (int64_t r = 0; r < queries; ++r) {
              float factors[kBlock];
              dropout_factors(sight, sight.first + (row + r) * sight.span + j0, keys, factors);
              for (int64_t c = 0; c < keys; ++c) kept[c * kBlock + r] = factors[c];
            }
          }
          for (int64_t c = 0; c < keys; ++c) {
            float* p = probabilities + c * kBlock;
            float* g = gradients + c * kBlock;
            // Queries before this key, and those whose window it has left, do not see it.
            const int64_t hidden = sight.causal ? smaller(queries, j0 + c > i0 ? j0 + c - i0 : 0) : 0;
            const int64_t beyond = sight.window > 0 ? j0 + c + sight.window - i0 : queries;
            const int64_t visible = smaller(queries, beyond > hidden ? beyond : hidden);
            for (int64_t r = 0; r < hidden; ++r) {
              p[r] = 0.0F;
              g[r] = 0.0F;
            }
            for (int64_t r = visible; r < queries; ++r) {
              p[r] = 0.0F;
              g[r] = 0.0F;
            }
            const float* log = logs + i0;
            const float* dot = dots + i0;
            if (sight.threshold != 0) {
              const float* m = kept + c * kBlock;
#pragma omp simd
              for (int64_t r = hidden; r < visible; ++r) {
                const float e = math::exponential_of_negative(p[r] - log[r]);
                p[r] = e * m[r];
                g[r] = e * (g[r] * m[r] - dot[r]) * scale;
              }
              continue;
            }
#pragma omp simd
            for (int64_t r = hidden; r < visible; ++r) {
              const float e = math::exponential_of_negative(p[r] - log[r]);
              p[r] = e;
              g[r] = e * (g[r] - dot[r]) * scale;
            }
          }
          const float again = h == kv_head * group && i0 == first_queries ? 0.0F : 1.0F;
          product(false, false, keys, dimension, queries, 1.0F, probabilities, kBlock, doi.data, doi.stride, again,
                  dvj.data, dvj.stride);
          product(false, false, keys, dimension, queries, 1.0F, gradients, kBlock, qi.data, qi.stride, again, dkj.data,
                  dkj.stride);
          product(true, false, queries, dimension, keys, 1.0F, gradients, kBlock, kj.data, kj.stride,
                  j0 == first_block(sight, i0) ? 0.0F : 1.0F, dqi.data, dqi.stride);
          // Queries of this block see no later keys.
          if (j0 == (sight.causal ? i0 : last_block))
            store_sum(dqi, queries, dimension, dq + (start + i0) * lddq + h * dimension, lddq);
        }
      }
      store_sum(dkj, keys, dimension, dk_end, lddk);
      store_sum(dvj, keys, dimension, dv_end, lddv);
    }
  }
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.rotary = rotary<T>;
  table.attention = attention<T>;
  table.attention_of_last = attention_of_last<T>;
  table.attention_backward = attention_backward<T>;
  table.attention_backward_workspace = attention_backward_workspace<T>;
}

}  // namespace

void fill_attention(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
  table.rotary_table = rotary_table;
}

}  // namespace galleon::cpu::GALLEON_ISA

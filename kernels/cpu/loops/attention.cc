// Causal attention in blocks of queries and keys with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022). A
// (sequence, head) is the unit that threads share; its blocks' products run on the thread that owns it.
#include <cblas.h>

#include "kernels/cpu/loops/loops.h"
#include "kernels/math/exponential.h"
#include "kernels/math/rotary.h"

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

void rotary_table(const Execution& on, int64_t sequence, int64_t dimension, float theta, float* table, int64_t ldt) {
  const int64_t half = dimension / 2;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (sequence * half > 1024)
  for (int64_t position = 0; position < sequence; ++position) {
    for (int64_t i = 0; i < half; ++i) {
      const double frequency =
          __builtin_pow(static_cast<double>(theta), -2.0 * static_cast<double>(i) / static_cast<double>(dimension));
      const double angle = static_cast<double>(position) * frequency;
      table[position * ldt + i] = static_cast<float>(__builtin_cos(angle));
      table[position * ldt + half + i] = static_cast<float>(__builtin_sin(angle));
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
               const T* q, int64_t ldq, const T* k, int64_t ldk, const T* v, int64_t ldv, T* out, int64_t ldo,
               float* log_sum) {
  const int64_t group = heads / kv_heads;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(dimension));
  const bool parallel = worth_threads(batch * heads * sequence * sequence * dimension, 50);
  use_blas_threads(parallel ? on.threads : 1);
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 1) if (parallel)
  for (int64_t unit = 0; unit < batch * heads; ++unit) {
    const int64_t start = unit / heads * sequence;
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
    for (int64_t i0 = 0; i0 < sequence; i0 += kBlock) {
      const int64_t queries = smaller(kBlock, sequence - i0);
      const Tile qi = tile(q_head + i0 * ldq, ldq, queries, dimension, q_buffer);
      const Sum sums = sum_for(o_head + i0 * ldo, ldo, dimension, o_buffer);
      float* o = sums.data;
      for (int64_t r = 0; r < queries; ++r) {
        largest[r] = -__builtin_inff();
        total[r] = 0.0F;
      }
      for (int64_t j0 = 0; j0 < i0 + queries; j0 += kBlock) {
        const int64_t keys = smaller(kBlock, i0 + queries - j0);
        const Tile kj = tile(k_head + j0 * ldk, ldk, keys, dimension, k_buffer);
        product(false, true, queries, keys, dimension, scale, qi.data, qi.stride, kj.data, kj.stride, 0.0F, scores,
                kBlock);
        for (int64_t r = 0; r < queries; ++r) {
          const int64_t visible = smaller(keys, i0 + r - j0 + 1);
          float* s = scores + r * kBlock;
          float highest = largest[r];
#pragma omp simd reduction(max : highest)
          for (int64_t c = 0; c < visible; ++c) highest = s[c] > highest ? s[c] : highest;
          const float shrink = math::exponential_of_negative(largest[r] - highest);
          float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
          for (int64_t c = 0; c < visible; ++c) {
            const float e = math::exponential_of_negative(s[c] - highest);
            s[c] = e;
            sum += e;
          }
          for (int64_t c = visible; c < keys; ++c) s[c] = 0.0F;
          total[r] = total[r] * shrink + sum;
          largest[r] = highest;
          if (j0 > 0 && shrink != 1.0F) {
#pragma omp simd
            for (int64_t d = 0; d < dimension; ++d) o[r * sums.stride + d] *= shrink;
          }
        }
        const Tile vj = tile(v_head + j0 * ldv, ldv, keys, dimension, k_buffer);
        product(false, false, queries, dimension, keys, 1.0F, scores, kBlock, vj.data, vj.stride, j0 > 0 ? 1.0F : 0.0F,
                o, sums.stride);
      }
      for (int64_t r = 0; r < queries; ++r) {
        const float inverse = 1.0F / total[r];
#pragma omp simd
        for (int64_t d = 0; d < dimension; ++d) o[r * sums.stride + d] *= inverse;
        logs[i0 + r] = largest[r] + __builtin_logf(total[r]);
      }
      store_sum(sums, queries, dimension, o_head + i0 * ldo, ldo);
    }
  }
}

// A dot product for every row, and in bf16 the sums of dq, whose tiles are visited once for every block of keys.
template <typename T>
int64_t attention_backward_workspace(int64_t batch, int64_t sequence, int64_t heads, int64_t, int64_t dimension) {
  const int64_t numbers = sizeof(T) == sizeof(float) ? 1 : 1 + dimension;
  return batch * heads * sequence * numbers * static_cast<int64_t>(sizeof(float));
}

// With P = exp(S − log_sum) and D = Σ dout·out by rows: dV = Pᵀ·dout, dS = P∘(dout·Vᵀ − D)·scale, dQ = dS·K, dK =
// dSᵀ·Q. One thread owns a key-value head of a sequence with all its query heads, so every sum has one order.
template <typename T>
void attention_backward(const Execution& on, int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads,
                        int64_t dimension, const T* q, int64_t ldq, const T* k, int64_t ldk, const T* v, int64_t ldv,
                        const T* out, int64_t ldo, const float* log_sum, const T* dout, int64_t lddo, T* dq,
                        int64_t lddq, T* dk, int64_t lddk, T* dv, int64_t lddv, void* scratch) {
  const int64_t group = heads / kv_heads;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(dimension));
  float* row_dots = static_cast<float*>(scratch);
  float* dq_sums = row_dots + batch * heads * sequence;
  const bool parallel = worth_threads(batch * heads * sequence * sequence * dimension, 100);
  use_blas_threads(parallel ? on.threads : 1);
#pragma omp parallel for num_threads(on.threads) schedule(dynamic, 1) if (parallel)
  for (int64_t unit = 0; unit < batch * kv_heads; ++unit) {
    const int64_t start = unit / kv_heads * sequence;
    const int64_t sequence_index = unit / kv_heads;
    const int64_t kv_head = unit % kv_heads;
    alignas(64) float probabilities[kBlock * kBlock];
    alignas(64) float gradients[kBlock * kBlock];
    alignas(64) float k_buffer[kTile];
    alignas(64) float v_buffer[kTile];
    alignas(64) float q_buffer[kTile];
    alignas(64) float do_buffer[kTile];
    alignas(64) float dk_buffer[kTile];
    alignas(64) float dv_buffer[kTile];
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      float* dots = row_dots + (sequence_index * heads + h) * sequence;
      for (int64_t t = 0; t < sequence; ++t) {
        const T* a = dout + (start + t) * lddo + h * dimension;
        const T* b = out + (start + t) * ldo + h * dimension;
        float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
        for (int64_t d = 0; d < dimension; ++d) dot += math::load(a[d]) * math::load(b[d]);
        dots[t] = dot;
      }
    }
    for (int64_t j0 = 0; j0 < sequence; j0 += kBlock) {
      const int64_t keys = smaller(kBlock, sequence - j0);
      const Tile kj = tile(k + (start + j0) * ldk + kv_head * dimension, ldk, keys, dimension, k_buffer);
      const Tile vj = tile(v + (start + j0) * ldv + kv_head * dimension, ldv, keys, dimension, v_buffer);
      T* dk_end = dk + (start + j0) * lddk + kv_head * dimension;
      T* dv_end = dv + (start + j0) * lddv + kv_head * dimension;
      const Sum dkj = sum_for(dk_end, lddk, dimension, dk_buffer);
      const Sum dvj = sum_for(dv_end, lddv, dimension, dv_buffer);
      for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
        const float* dots = row_dots + (sequence_index * heads + h) * sequence;
        const float* logs = log_sum + (sequence_index * heads + h) * sequence;
        for (int64_t i0 = j0; i0 < sequence; i0 += kBlock) {
          const int64_t queries = smaller(kBlock, sequence - i0);
          const Tile qi = tile(q + (start + i0) * ldq + h * dimension, ldq, queries, dimension, q_buffer);
          const Tile doi = tile(dout + (start + i0) * lddo + h * dimension, lddo, queries, dimension, do_buffer);
          const Sum dqi = sum_for(dq + (start + i0) * lddq + h * dimension, lddq, dimension,
                                  dq_sums + ((sequence_index * heads + h) * sequence + i0) * dimension);
          // Scores lie with a key to a row, so that all products but the last read them as they are.
          product(false, true, keys, queries, dimension, scale, kj.data, kj.stride, qi.data, qi.stride, 0.0F,
                  probabilities, kBlock);
          product(false, true, keys, queries, dimension, 1.0F, vj.data, vj.stride, doi.data, doi.stride, 0.0F,
                  gradients, kBlock);
          for (int64_t c = 0; c < keys; ++c) {
            float* p = probabilities + c * kBlock;
            float* g = gradients + c * kBlock;
            const int64_t hidden = smaller(queries, j0 + c > i0 ? j0 + c - i0 : 0);  // queries before this key
            for (int64_t r = 0; r < hidden; ++r) {
              p[r] = 0.0F;
              g[r] = 0.0F;
            }
            const float* log = logs + i0;
            const float* dot = dots + i0;
#pragma omp simd
            for (int64_t r = hidden; r < queries; ++r) {
              const float e = math::exponential_of_negative(p[r] - log[r]);
              p[r] = e;
              g[r] = e * (g[r] - dot[r]) * scale;
            }
          }
          const float again = h == kv_head * group && i0 == j0 ? 0.0F : 1.0F;
          product(false, false, keys, dimension, queries, 1.0F, probabilities, kBlock, doi.data, doi.stride, again,
                  dvj.data, dvj.stride);
          product(false, false, keys, dimension, queries, 1.0F, gradients, kBlock, qi.data, qi.stride, again, dkj.data,
                  dkj.stride);
          product(true, false, queries, dimension, keys, 1.0F, gradients, kBlock, kj.data, kj.stride,
                  j0 == 0 ? 0.0F : 1.0F, dqi.data, dqi.stride);
          // Queries of this block see no later keys.
          if (i0 == j0) store_sum(dqi, queries, dimension, dq + (start + i0) * lddq + h * dimension, lddq);
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

// Attention in tiles with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022), in fp32 arithmetic for either
// type of numbers. 128 threads, 8 side by side over columns and 16 over rows, form products of tiles that lie in shared
// memory as fp32, padded so that threads side by side read different banks.
#include "kernels/cuda/kernels/attention_kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/launch.h"
#include "kernels/math/exponential.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {
namespace {

constexpr int kAcross = 8;
constexpr int kDown = 16;
constexpr int kThreads = kAcross * kDown;
constexpr int kPad = 4;  // numbers between rows

template <int kD>
constexpr int kStride = kD + kPad;

__device__ __forceinline__ int across() {
  return static_cast<int>(threadIdx.x) % kAcross;
}
__device__ __forceinline__ int down() {
  return static_cast<int>(threadIdx.x) / kAcross;
}

// Whether 16 bytes of T can be read at once everywhere.
template <typename T>
bool heads_aligned(const Matrix<T>& x, int64_t dimension) {
  return rows_aligned(2, x) && dimension % Pack<std::remove_const_t<T>>::kCount == 0;
}

// `rows` rows of a head's numbers into the first of kRows rows of kD; zeros elsewhere.
template <int kRows, int kD, typename T>
__device__ void load_tile(const T* from, int64_t stride, int64_t rows, int64_t dimension, bool wide, float* to) {
  if (wide) {
    constexpr int kCount = Pack<T>::kCount;
    constexpr int kPieces = kD / kCount;
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kPieces; i += kThreads) {
      const int row = i / kPieces;
      const int column = i % kPieces * kCount;
      Piece<float, kCount> numbers{};
      if (row < rows && column < dimension) {
        const Pack<T> pack = load_pack(from + row * stride + column);
        for (int j = 0; j < kCount; ++j) numbers.value[j] = math::load(pack.value[j]);
      }
      store_piece(to + row * kStride<kD> + column, numbers);
    }
    return;
  }
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kD; i += kThreads) {
    const int row = i / kD;
    const int column = i % kD;
    to[row * kStride<kD> + column] = row < rows && column < dimension ? math::load(from[row * stride + column]) : 0.0F;
  }
}

// s[r][c] ← a[row r of the thread]·b[column c of the thread]ᵀ over kD numbers.
template <int kD, int kR, int kC>
__device__ __forceinline__ void rows_by_rows(const float* a, const float* b, float (&s)[kR][kC]) {
  const float* own_a = a + down() * kR * kStride<kD>;
  const float* own_b = b + across() * kStride<kD>;
#pragma unroll
  for (int r = 0; r < kR; ++r) {
#pragma unroll
    for (int c = 0; c < kC; ++c) s[r][c] = 0.0F;
  }
#pragma unroll 2
  for (int d = 0; d < kD; d += 4) {
    Pack<float> x[kR];
    Pack<float> y[kC];
#pragma unroll
    for (int r = 0; r < kR; ++r) x[r] = load_pack(own_a + r * kStride<kD> + d);
#pragma unroll
    for (int c = 0; c < kC; ++c) y[c] = load_pack(own_b + c * kAcross * kStride<kD> + d);
#pragma unroll
    for (int r = 0; r < kR; ++r) {
#pragma unroll
      for (int c = 0; c < kC; ++c) {
#pragma unroll
        for (int j = 0; j < 4; ++j) s[r][c] += x[r].value[j] * y[c].value[j];
      }
    }
  }
}

// A thread's share of rows × kD sums: kR rows, of each 4 numbers in every 32.
template <int kD, int kR>
struct Sums {
  float at[kR][kD / 32][4];
};

// sums += p·b over kInner rows of b; p: rows of kInner + kPad numbers.
template <int kD, int kR, int kInner>
__device__ __forceinline__ void add_product(const float* p, const float* b, Sums<kD, kR>& sums) {
  const float* own_p = p + down() * kR * (kInner + kPad);
  const float* own_b = b + across() * 4;
#pragma unroll 1
  for (int j = 0; j < kInner; j += 4) {
    Pack<float> factors[kR];
#pragma unroll
    for (int r = 0; r < kR; ++r) factors[r] = load_pack(own_p + r * (kInner + kPad) + j);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int g = 0; g < kD / 32; ++g) {
        const Pack<float> row = load_pack(own_b + (j + i) * kStride<kD> + 32 * g);
#pragma unroll
        for (int r = 0; r < kR; ++r) {
#pragma unroll
          for (int e = 0; e < 4; ++e) sums.at[r][g][e] += factors[r].value[i] * row.value[e];
        }
      }
    }
  }
}

// A row of a thread's sums, times `factor`, to its place.
template <int kD, int kR, typename T>
__device__ __forceinline__ void store_row(const Sums<kD, kR>& sums, int r, float factor, int64_t dimension, T* to) {
#pragma unroll
  for (int g = 0; g < kD / 32; ++g) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int column = 32 * g + across() * 4 + e;
      if (column < dimension) math::store(to[column], sums.at[r][g][e] * factor);
    }
  }
}

// Over the 8 threads of a row.
__device__ __forceinline__ float row_max(float x) {
#pragma unroll
  for (int distance = kAcross / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, distance);
    x = other > x ? other : x;
  }
  return x;
}
__device__ __forceinline__ float row_sum(float x) {
#pragma unroll
  for (int distance = kAcross / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

template <int kD>
struct ForwardTiles {
  static constexpr int kQueries = kD <= 128 ? 64 : 32;
  static constexpr int kKeys = 32;
  static constexpr int kTile = (kQueries + kKeys) * kStride<kD>;
  static constexpr size_t kShared = (kTile + kQueries * (kKeys + kPad)) * sizeof(float);
};

// What a thread knows of its rows' softmax so far.
template <int kR>
struct RowSoftmax {
  float largest[kR];
  float total[kR];
};

// The thread's scores s of a tile of keys at j0 become probabilities in p_tile, relative to the largest score so far,
// and the sums shrink by what they were relative to before. unit: sequence and head; i0: query of the thread's first
// row.
template <int kD, int kR, int kC>
__device__ __forceinline__ void add_to_softmax(const AttentionExtent& e, int64_t length, int64_t unit, int64_t i0,
                                               int64_t j0, float (&s)[kR][kC], RowSoftmax<kR>& rows, float* p_tile,
                                               Sums<kD, kR>& sums) {
  constexpr int kRow = kC * kAcross + kPad;
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    const int64_t i = i0 + r;
    float highest = rows.largest[r];
#pragma unroll
    for (int c = 0; c < kC; ++c) {
      const int64_t j = j0 + across() + kAcross * c;
      s[r][c] = sees(e.mask, length, i, j) ? s[r][c] * e.scale : -INFINITY;
      highest = s[r][c] > highest ? s[r][c] : highest;
    }
    highest = row_max(highest);
    const float reference = row_reference(highest);
    const float shrink = math::exponential_of_negative(rows.largest[r] - reference);
    float sum = 0.0F;
#pragma unroll
    for (int c = 0; c < kC; ++c) {
      float p = math::exponential_of_negative(s[r][c] - reference);
      sum += p;
      const int column = across() + kAcross * c;
      if (e.mask.dropout.threshold != 0) p *= dropout_factor(e.mask, first_word(e.mask, unit, i) + j0 + column);
      p_tile[(down() * kR + r) * kRow + column] = p;
    }
    rows.total[r] = rows.total[r] * shrink + row_sum(sum);
    rows.largest[r] = highest;
#pragma unroll
    for (int g = 0; g < kD / 32; ++g) {
#pragma unroll
      for (int n = 0; n < 4; ++n) sums.at[r][g][n] *= shrink;
    }
  }
}

// out (B·T, H·D) and log_sum (B·H, T) of a tile of queries, over the keys in order.
template <typename T, int kD>
__global__ void __launch_bounds__(kThreads, 2) forward_kernel(AttentionForward<T> a, bool wide) {
  using Tiles = ForwardTiles<kD>;
  constexpr int kQ = Tiles::kQueries;
  constexpr int kK = Tiles::kKeys;
  constexpr int kR = kQ / kDown;
  constexpr int kC = kK / kAcross;
  float* q_tile = dynamic_shared<float>();
  float* kv_tile = q_tile + kQ * kStride<kD>;  // keys, then values
  float* p_tile = q_tile + Tiles::kTile;
  const AttentionExtent& e = a.extent;
  const int64_t tiles = ceil_div(e.sequence, kQ);
  const TileOfHead at = tile_of_block(e, e.heads, tiles, e.mask.causal);
  const int64_t unit = at.sequence_index * e.heads + at.head;
  const int64_t i0 = at.tile * kQ;
  const int64_t kv_column = at.head / e.group * e.dimension;
  const int64_t first_row = i0 + down() * kR;
  load_tile<kQ, kD>(a.q.data + (at.start + i0) * a.q.stride + at.head * e.dimension, a.q.stride, at.length - i0,
                    e.dimension, wide, q_tile);
  Sums<kD, kR> sums{};
  RowSoftmax<kR> rows;
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    rows.largest[r] = -INFINITY;
    rows.total[r] = 0.0F;
  }
  const Range keys = i0 < at.length ? keys_seen(e.mask, at.length, i0, kQ, kK) : Range{0, 0};
  for (int64_t j0 = keys.begin; j0 < keys.end; j0 += kK) {
    const int64_t token = at.start + j0;
    __syncthreads();
    load_tile<kK, kD>(a.k.data + token * a.k.stride + kv_column, a.k.stride, keys.end - j0, e.dimension, wide, kv_tile);
    __syncthreads();
    float s[kR][kC];
    rows_by_rows<kD>(q_tile, kv_tile, s);
    __syncthreads();
    load_tile<kK, kD>(a.v.data + token * a.v.stride + kv_column, a.v.stride, keys.end - j0, e.dimension, wide, kv_tile);
    add_to_softmax<kD>(e, at.length, unit, first_row, j0, s, rows, p_tile, sums);
    __syncthreads();
    add_product<kD, kR, kK>(p_tile, kv_tile, sums);
  }
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    const int64_t i = first_row + r;
    if (i >= e.sequence) break;
    const bool there = i < at.length;
    if (there) {
      store_row(sums, r, 1.0F / rows.total[r], e.dimension,
                a.out.data + (at.start + i) * a.out.stride + at.head * e.dimension);
    }
    if (across() == 0) a.log_sum[unit * e.sequence + i] = there ? rows.largest[r] + logf(rows.total[r]) : 0.0F;
  }
}

// Both kernels of the backward hold rows of one side, and pass over the other in tiles of as many.
template <int kD>
struct BackwardTiles {
  static constexpr int kRows = kD <= 128 ? 32 : 16;
  static constexpr int kTile = kRows * kStride<kD>;
  static constexpr int kScores = kRows * (kRows + kPad);
  static constexpr size_t kShared = (4 * kTile + 2 * kScores + 2 * kRows) * sizeof(float);
};

// The probabilities of a tile and the gradients of its scores, from scores and gradients of probabilities.
__device__ __forceinline__ void backward_of_score(const AttentionExtent& e, int64_t length, int64_t unit, int64_t i,
                                                  int64_t j, float log_sum, float row_dot, float& p, float& g) {
  if (!sees(e.mask, length, i, j)) {
    p = 0.0F;
    g = 0.0F;
    return;
  }
  const float probability = math::exponential_of_negative(p * e.scale - log_sum);
  const float factor = e.mask.dropout.threshold != 0 ? dropout_factor(e.mask, first_word(e.mask, unit, i) + j) : 1.0F;
  p = probability * factor;
  g = probability * (g * factor - row_dot) * e.scale;
}

// The tiles of two matrices whose rows belong together: queries and dout, or keys and values.
template <int kRows, int kD, typename T>
__device__ __forceinline__ void load_tiles(const Matrix<const T>& first, const Matrix<const T>& second, int64_t row,
                                           int64_t column, int64_t rows, int64_t dimension, bool wide,
                                           float* first_tile, float* second_tile) {
  load_tile<kRows, kD>(first.row(row) + column, first.stride, rows, dimension, wide, first_tile);
  load_tile<kRows, kD>(second.row(row) + column, second.stride, rows, dimension, wide, second_tile);
}

// What a thread's scores become between a tile that is held and one that is passed over, kR rows by kC columns of the
// thread: of(r, row, column, p, g) is given each with the gradient of its probability.
template <int kD, int kB, typename Of>
__device__ __forceinline__ void for_scores(const float* held, const float* passed, const float* held_of_gradient,
                                           const float* passed_of_gradient, Of of) {
  constexpr int kR = kB / kDown;
  constexpr int kC = kB / kAcross;
  float p[kR][kC];
  float g[kR][kC];
  rows_by_rows<kD>(held, passed, p);
  rows_by_rows<kD>(held_of_gradient, passed_of_gradient, g);
#pragma unroll
  for (int r = 0; r < kR; ++r) {
#pragma unroll
    for (int c = 0; c < kC; ++c) of(r, down() * kR + r, across() + kAcross * c, p[r][c], g[r][c]);
  }
}

// dk, dv (B·T, K·D) of a tile of keys, over the queries of all heads of its group in order.
template <typename T, int kD>
__global__ void __launch_bounds__(kThreads, 2) backward_keys_kernel(AttentionBackward<T> a, bool wide) {
  using Tiles = BackwardTiles<kD>;
  constexpr int kB = Tiles::kRows;
  constexpr int kR = kB / kDown;
  float* k_tile = dynamic_shared<float>();
  float* v_tile = k_tile + Tiles::kTile;
  float* q_tile = v_tile + Tiles::kTile;
  float* do_tile = q_tile + Tiles::kTile;
  float* p_tile = do_tile + Tiles::kTile;
  float* g_tile = p_tile + Tiles::kScores;
  float* logs = g_tile + Tiles::kScores;
  float* dots = logs + kB;
  const AttentionExtent& e = a.extent;
  const TileOfHead at = tile_of_block(e, e.heads / e.group, ceil_div(e.sequence, kB), false);
  const int64_t j0 = at.tile * kB;
  const int64_t column = at.head * e.dimension;
  load_tiles<kB, kD>(a.k, a.v, at.start + j0, column, at.length - j0, e.dimension, wide, k_tile, v_tile);
  Sums<kD, kR> dk{};
  Sums<kD, kR> dv{};
  const Range queries = j0 < at.length ? queries_seeing(e.mask, at.length, j0, kB, kB) : Range{0, 0};
  for (int64_t head = at.head * e.group; head < (at.head + 1) * e.group; ++head) {
    const int64_t unit = at.sequence_index * e.heads + head;
    for (int64_t i0 = queries.begin; i0 < queries.end; i0 += kB) {
      __syncthreads();
      load_tiles<kB, kD>(a.q, a.dout, at.start + i0, head * e.dimension, at.length - i0, e.dimension, wide, q_tile,
                         do_tile);
      if (threadIdx.x < kB) {
        const int64_t i = i0 + threadIdx.x;
        logs[threadIdx.x] = i < at.length ? a.log_sum[unit * e.sequence + i] : 0.0F;
        dots[threadIdx.x] = i < at.length ? a.row_dots[unit * e.sequence + i] : 0.0F;
      }
      __syncthreads();
      for_scores<kD, kB>(k_tile, q_tile, v_tile, do_tile, [&](int, int row, int own, float& p, float& g) {
        backward_of_score(e, at.length, unit, i0 + own, j0 + row, logs[own], dots[own], p, g);
        p_tile[row * (kB + kPad) + own] = p;
        g_tile[row * (kB + kPad) + own] = g;
      });
      __syncthreads();
      add_product<kD, kR, kB>(p_tile, do_tile, dv);
      add_product<kD, kR, kB>(g_tile, q_tile, dk);
    }
  }
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    const int64_t j = j0 + down() * kR + r;
    if (j >= at.length) break;
    store_row(dk, r, 1.0F, e.dimension, a.dk.row(at.start + j) + column);
    store_row(dv, r, 1.0F, e.dimension, a.dv.row(at.start + j) + column);
  }
}

// dq (B·T, H·D) of a tile of queries, over the keys in order.
template <typename T, int kD>
__global__ void __launch_bounds__(kThreads, 2) backward_queries_kernel(AttentionBackward<T> a, bool wide) {
  using Tiles = BackwardTiles<kD>;
  constexpr int kB = Tiles::kRows;
  constexpr int kR = kB / kDown;
  float* q_tile = dynamic_shared<float>();
  float* do_tile = q_tile + Tiles::kTile;
  float* k_tile = do_tile + Tiles::kTile;
  float* v_tile = k_tile + Tiles::kTile;
  float* g_tile = v_tile + Tiles::kTile;
  const AttentionExtent& e = a.extent;
  const TileOfHead at = tile_of_block(e, e.heads, ceil_div(e.sequence, kB), e.mask.causal);
  const int64_t unit = at.sequence_index * e.heads + at.head;
  const int64_t i0 = at.tile * kB;
  const int64_t column = at.head * e.dimension;
  const int64_t kv_column = at.head / e.group * e.dimension;
  load_tiles<kB, kD>(a.q, a.dout, at.start + i0, column, at.length - i0, e.dimension, wide, q_tile, do_tile);
  float log_sum[kR];
  float row_dot[kR];
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    const int64_t i = i0 + down() * kR + r;
    log_sum[r] = i < at.length ? a.log_sum[unit * e.sequence + i] : 0.0F;
    row_dot[r] = i < at.length ? a.row_dots[unit * e.sequence + i] : 0.0F;
  }
  Sums<kD, kR> dq{};
  const Range keys = i0 < at.length ? keys_seen(e.mask, at.length, i0, kB, kB) : Range{0, 0};
  for (int64_t j0 = keys.begin; j0 < keys.end; j0 += kB) {
    __syncthreads();
    load_tiles<kB, kD>(a.k, a.v, at.start + j0, kv_column, keys.end - j0, e.dimension, wide, k_tile, v_tile);
    __syncthreads();
    for_scores<kD, kB>(q_tile, k_tile, do_tile, v_tile, [&](int r, int row, int own, float& p, float& g) {
      backward_of_score(e, at.length, unit, i0 + row, j0 + own, log_sum[r], row_dot[r], p, g);
      g_tile[row * (kB + kPad) + own] = g;
    });
    __syncthreads();
    add_product<kD, kR, kB>(g_tile, k_tile, dq);
  }
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    const int64_t i = i0 + down() * kR + r;
    if (i < at.length) store_row(dq, r, 1.0F, e.dimension, a.dq.row(at.start + i) + column);
  }
}

// Calls `call.template operator()<kD>()` with the smallest padded dimension that holds a head.
template <typename Call>
void by_dimension(int64_t dimension, Call call) {
  if (dimension <= 32) return call.template operator()<32>();
  if (dimension <= 64) return call.template operator()<64>();
  if (dimension <= 128) return call.template operator()<128>();
  call.template operator()<256>();
}

dim3 blocks_of(int64_t units, int64_t sequence, int64_t rows) {
  return dim3(static_cast<unsigned>(units * (ceil_div(sequence, rows))));
}

}  // namespace

template <typename T>
void attention_forward_in_fp32(const Execution& on, const AttentionForward<T>& a) {
  const AttentionExtent& e = a.extent;
  const bool wide =
      heads_aligned(a.q, e.dimension) && heads_aligned(a.k, e.dimension) && heads_aligned(a.v, e.dimension);
  by_dimension(e.dimension, [&]<int kD>() {
    using Tiles = ForwardTiles<kD>;
    launch<forward_kernel<T, kD>>(on, blocks_of(e.batch * e.heads, e.sequence, Tiles::kQueries), kThreads,
                                  Tiles::kShared, a, wide);
  });
}

template <typename T>
void attention_backward_in_fp32(const Execution& on, const AttentionBackward<T>& a) {
  const AttentionExtent& e = a.extent;
  const bool wide = heads_aligned(a.q, e.dimension) && heads_aligned(a.k, e.dimension) &&
                    heads_aligned(a.v, e.dimension) && heads_aligned(a.dout, e.dimension);
  by_dimension(e.dimension, [&]<int kD>() {
    using Tiles = BackwardTiles<kD>;
    launch<backward_keys_kernel<T, kD>>(on, blocks_of(e.batch * e.kv_heads(), e.sequence, Tiles::kRows), kThreads,
                                        Tiles::kShared, a, wide);
    launch<backward_queries_kernel<T, kD>>(on, blocks_of(e.batch * e.heads, e.sequence, Tiles::kRows), kThreads,
                                           Tiles::kShared, a, wide);
  });
}

template void attention_forward_in_fp32(const Execution& on, const AttentionForward<float>& a);
template void attention_forward_in_fp32(const Execution& on, const AttentionForward<BFloat16>& a);
template void attention_backward_in_fp32(const Execution& on, const AttentionBackward<float>& a);
template void attention_backward_in_fp32(const Execution& on, const AttentionBackward<BFloat16>& a);

}  // namespace galleon::cuda

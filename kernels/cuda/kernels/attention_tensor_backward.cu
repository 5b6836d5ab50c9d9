// The backward of attention in bf16 on tensor cores, from recomputed probabilities. One kernel holds tiles
// of keys and passes over the queries, one holds queries and passes over the keys: two products of seven are done
// twice, but every sum has one order and nothing is added atomically. A warp owns rows of scores or of their
// transposes, which as registers are left operands of the next products. With P = exp(S − log_sum), M what dropout
// multiplies it by and D = Σ dout·out by rows: dV = (P∘M)ᵀ·dout, dS = P∘(M∘(dout·Vᵀ) − D), dQ = dS·K·scale, dK =
// dSᵀ·Q·scale.
#include "kernels/cuda/kernels/attention_fragments.h"
#include "kernels/cuda/launch.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {
namespace {

// What a block of either kernel holds is one of two tiles; of what it passes over there are two, the first of them in
// two buffers: while one is used, the next arrives.
template <int kHeld, int kPassed, int kD>
struct Shared {
  static constexpr int kHeldBytes = kHeld * kRowBytes<kD>;
  static constexpr int kPassedBytes = kPassed * kRowBytes<kD>;
  static constexpr int kFirst = 2 * kHeldBytes;
  static constexpr int kSecond = kFirst + 2 * kPassedBytes;
  static constexpr int kNumbers = kSecond + kPassedBytes;
  static constexpr size_t kBytes = kNumbers + 4 * kPassed * sizeof(float);
};

constexpr int kKeysHeld = kTensorWarps * 16;  // 16 to a warp: dk and dv of them fill half of its registers
// Random words take registers too.
template <bool dropped>
constexpr int kQueriesPassed = dropped ? 32 : 64;
template <int kD, bool dropped>
constexpr int kUnrolled = dropped || kD == 96 ? 2 : 4;

// dk, dv (B·T, K·D) of a tile of keys, over the queries of all heads of its group in order.
template <int kD, int kQueries, bool dropped>
__global__ void __launch_bounds__(kTensorThreads, 2) tensor_keys_kernel(AttentionBackward<BFloat16> a) {
  using Space = Shared<kKeysHeld, kQueries, kD>;
  constexpr int kN = kQueries / 8;
  auto* memory = dynamic_shared<unsigned char>();
  const int own_bytes = warp_of_thread() * 16 * kRowBytes<kD>;
  const SharedAddress k_copy = shared_address(memory);
  const SharedAddress v_copy = k_copy + Space::kHeldBytes;
  const SharedAddress q_copy = k_copy + Space::kFirst;
  const SharedAddress do_copy = k_copy + Space::kSecond;
  auto* numbers = reinterpret_cast<float*>(memory + Space::kNumbers);

  const AttentionExtent& e = a.extent;
  const TileOfHead at = tile_of_block(e, e.kv_heads(), ceil_div(e.sequence, kKeysHeld), false);
  const int j0 = static_cast<int>(at.tile) * kKeysHeld;
  const int own_j0 = j0 + warp_of_thread() * 16;
  const int64_t column = at.head * kD;
  const Mask32 mask = mask32(e.mask, at.length);
  const Range queries = j0 < at.length ? queries_seeing(e.mask, at.length, j0, kKeysHeld, kQueries) : Range{0, 0};
  const int begin = static_cast<int>(queries.begin);
  const int end = static_cast<int>(queries.end);
  // Of the first head of the group; head h of it, and query i, are so many numbers further on.
  const int64_t first_head = at.head * e.group;
  const BFloat16* q = a.q.data + at.start * a.q.stride + first_head * kD;
  const BFloat16* dout = a.dout.data + at.start * a.dout.stride + first_head * kD;
  const int64_t first_row = (at.sequence_index * e.heads + first_head) * e.sequence;

  const auto copy_numbers = [&](int head, int i0, float* to) {
    if (threadIdx.x >= kQueries) return;
    const int i = i0 + static_cast<int>(threadIdx.x);
    const int64_t row = first_row + head * e.sequence + i;
    to[threadIdx.x] = i < mask.length ? a.log_sum[row] * kLog2OfE : 0.0F;
    to[kQueries + threadIdx.x] = i < mask.length ? a.row_dots[row] : 0.0F;
  };

  float dk[1][kD / 8][4] = {};
  float dv[1][kD / 8][4] = {};
  int head = 0;
  int i0 = begin;
  bool more = begin < end;
  if (more) {
    const int64_t token = at.start + j0;
    copy_tile<kKeysHeld, kD>(k_copy, a.k.data + token * a.k.stride + column, a.k.stride, mask.length - j0);
    copy_tile<kKeysHeld, kD>(v_copy, a.v.data + token * a.v.stride + column, a.v.stride, mask.length - j0);
    copy_tile<kQueries, kD>(q_copy, q + i0 * a.q.stride, a.q.stride, mask.length - i0);
    copy_numbers(0, i0, numbers);
    copy_async_commit();
    copy_tile<kQueries, kD>(do_copy, dout + i0 * a.dout.stride, a.dout.stride, mask.length - i0);
    copy_async_commit();
  }
  int buffer = 0;
  while (more) {
    const SharedAddress q_tile = q_copy + buffer * Space::kPassedBytes;
    const float* logs = numbers + buffer * 2 * kQueries;
    const float* dots = logs + kQueries;
    buffer = 1 - buffer;
    const bool last_of_head = i0 + kQueries >= end;
    const int next_i0 = last_of_head ? begin : i0 + kQueries;
    const int next_head = last_of_head ? head + 1 : head;
    more = next_head < e.group;
    copy_async_wait<1>();
    __syncthreads();  // these queries are there, and the last ones are read
    if (more) {
      copy_tile<kQueries, kD>(q_copy + buffer * Space::kPassedBytes, q + next_i0 * a.q.stride + next_head * kD,
                              a.q.stride, mask.length - next_i0);
      copy_numbers(next_head, next_i0, numbers + buffer * 2 * kQueries);
    }
    copy_async_commit();
    float s[1][kN][4];
    multiply_rows<kD, kUnrolled<kD, dropped>>(k_copy + own_bytes + left_offset<kD>(), q_tile + right_offset<kD>(), s);
    copy_async_wait<1>();
    __syncthreads();  // dout is there
    float g[1][kN][4];
    multiply_rows<kD, kUnrolled<kD, dropped>>(v_copy + own_bytes + left_offset<kD>(), do_copy + right_offset<kD>(), g);
    if (!mask.all_see(i0, kQueries, own_j0, 16)) {
      apply_mask<true>(mask, i0 + fragment_column(), own_j0 + fragment_row(), s);
    }
    const float scale = e.scale * kLog2OfE;
#pragma unroll
    for (int t = 0; t < kN; ++t) {
#pragma unroll
      for (int x = 0; x < 4; ++x) {
        const int query = 8 * t + fragment_column() + x % 2;
        const float p = exp2_approximate(s[0][t][x] * scale - logs[query]);
        float factor = 1.0F;
        if constexpr (dropped) {
          const int64_t unit = at.sequence_index * e.heads + first_head + head;
          const int j = own_j0 + fragment_row() + 8 * (x / 2);
          factor = dropout_factor(e.mask, first_word(e.mask, unit, i0 + query) + j);
        }
        s[0][t][x] = p * factor;
        g[0][t][x] = p * (g[0][t][x] * factor - dots[query]);
      }
    }
    uint32_t left[1][kN / 2][4];
    round_to_left(s, left);
    add_product<kD>(left, do_copy + left_offset<kD>(), dv);
    round_to_left(g, left);
    __syncthreads();  // dout is read
    if (more) {
      copy_tile<kQueries, kD>(do_copy, dout + next_i0 * a.dout.stride + next_head * kD, a.dout.stride,
                              mask.length - next_i0);
    }
    copy_async_commit();
    add_product<kD>(left, q_tile + left_offset<kD>(), dk);
    head = next_head;
    i0 = next_i0;
  }
  copy_async_wait<0>();
  const int64_t token = at.start + own_j0;
  const float scaled[1][2] = {{e.scale, e.scale}};
  const float plain[1][2] = {{1.0F, 1.0F}};
  store_rows<kD, 1>(dk, scaled, memory + own_bytes, at.length - own_j0, a.dk.data + token * a.dk.stride + column,
                    a.dk.stride);
  store_rows<kD, 1>(dv, plain, memory + Space::kHeldBytes + own_bytes, at.length - own_j0,
                    a.dv.data + token * a.dv.stride + column, a.dv.stride);
}

constexpr int kM = 2;  // times 16 queries of a warp
constexpr int kQueriesHeld = kTensorWarps * 16 * kM;
constexpr int kKeysPassed = 32;

// dq (B·T, H·D) of a tile of queries, over the keys in order.
template <int kD, bool dropped>
__global__ void __launch_bounds__(kTensorThreads, 2) tensor_queries_kernel(AttentionBackward<BFloat16> a) {
  using Space = Shared<kQueriesHeld, kKeysPassed, kD>;
  constexpr int kN = kKeysPassed / 8;
  auto* memory = dynamic_shared<unsigned char>();
  const int own_bytes = warp_of_thread() * 16 * kM * kRowBytes<kD>;
  const SharedAddress q_copy = shared_address(memory);
  const SharedAddress do_copy = q_copy + Space::kHeldBytes;
  const SharedAddress k_copy = q_copy + Space::kFirst;
  const SharedAddress v_copy = q_copy + Space::kSecond;

  const AttentionExtent& e = a.extent;
  const TileOfHead at = tile_of_block(e, e.heads, ceil_div(e.sequence, kQueriesHeld), e.mask.causal);
  const int64_t unit = at.sequence_index * e.heads + at.head;
  const int i0 = static_cast<int>(at.tile) * kQueriesHeld;
  const int own_i0 = i0 + warp_of_thread() * 16 * kM;
  const int64_t column = at.head * kD;
  const BFloat16* k = a.k.data + at.start * a.k.stride + at.head / e.group * kD;
  const BFloat16* v = a.v.data + at.start * a.v.stride + at.head / e.group * kD;
  const Mask32 mask = mask32(e.mask, at.length);
  const Range keys = i0 < at.length ? keys_seen(e.mask, at.length, i0, kQueriesHeld, kKeysPassed) : Range{0, 0};
  const int end = static_cast<int>(keys.end);
  int j0 = static_cast<int>(keys.begin);

  float log_sum[kM][2];
  float row_dot[kM][2];
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = own_i0 + 16 * m + 8 * half + fragment_row();
      log_sum[m][half] = i < mask.length ? a.log_sum[unit * e.sequence + i] * kLog2OfE : 0.0F;
      row_dot[m][half] = i < mask.length ? a.row_dots[unit * e.sequence + i] : 0.0F;
    }
  }
  float dq[kM][kD / 8][4] = {};
  if (j0 < end) {
    const int64_t token = at.start + i0;
    copy_tile<kQueriesHeld, kD>(q_copy, a.q.data + token * a.q.stride + column, a.q.stride, at.length - i0);
    copy_tile<kQueriesHeld, kD>(do_copy, a.dout.data + token * a.dout.stride + column, a.dout.stride, at.length - i0);
    copy_tile<kKeysPassed, kD>(k_copy, k + j0 * a.k.stride, a.k.stride, end - j0);
    copy_async_commit();
    copy_tile<kKeysPassed, kD>(v_copy, v + j0 * a.v.stride, a.v.stride, end - j0);
    copy_async_commit();
  }
  int buffer = 0;
  for (; j0 < end; j0 += kKeysPassed) {
    const int next = j0 + kKeysPassed;
    const SharedAddress k_tile = k_copy + buffer * Space::kPassedBytes;
    buffer = 1 - buffer;
    copy_async_wait<1>();
    __syncthreads();  // these keys are there, and the last ones are read
    if (next < end) {
      copy_tile<kKeysPassed, kD>(k_copy + buffer * Space::kPassedBytes, k + next * a.k.stride, a.k.stride, end - next);
    }
    copy_async_commit();
    float s[kM][kN][4];
    multiply_rows<kD, kUnrolled<kD, dropped>>(q_copy + own_bytes + left_offset<kD>(), k_tile + right_offset<kD>(), s);
    copy_async_wait<1>();
    __syncthreads();  // the values are there
    float g[kM][kN][4];
    multiply_rows<kD, kUnrolled<kD, dropped>>(do_copy + own_bytes + left_offset<kD>(), v_copy + right_offset<kD>(), g);
    __syncthreads();  // and read
    if (next < end) copy_tile<kKeysPassed, kD>(v_copy, v + next * a.v.stride, a.v.stride, end - next);
    copy_async_commit();
    if (!mask.all_see(own_i0, 16 * kM, j0, kKeysPassed)) {
      apply_mask<false>(mask, own_i0 + fragment_row(), j0 + fragment_column(), s);
    }
    const float scale = e.scale * kLog2OfE;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int t = 0; t < kN; ++t) {
#pragma unroll
        for (int x = 0; x < 4; ++x) {
          const float p = exp2_approximate(s[m][t][x] * scale - log_sum[m][x / 2]);
          float gradient = g[m][t][x];
          if constexpr (dropped) {
            const int i = own_i0 + 16 * m + 8 * (x / 2) + fragment_row();
            const int j = j0 + 8 * t + fragment_column() + x % 2;
            gradient *= dropout_factor(e.mask, first_word(e.mask, unit, i) + j);
          }
          g[m][t][x] = p * (gradient - row_dot[m][x / 2]);
        }
      }
    }
    uint32_t left[kM][kN / 2][4];
    round_to_left(g, left);
    add_product<kD>(left, k_tile + left_offset<kD>(), dq);
  }
  copy_async_wait<0>();
  const float scaled[kM][2] = {{e.scale, e.scale}, {e.scale, e.scale}};
  store_rows<kD, kM>(dq, scaled, memory + own_bytes, at.length - own_i0,
                     a.dq.data + (at.start + own_i0) * a.dq.stride + column, a.dq.stride);
}

}  // namespace

void attention_backward_on_tensor_cores(const Execution& on, const AttentionBackward<BFloat16>& a) {
  const AttentionExtent& e = a.extent;
  by_tensor_dimension(e.dimension, [&]<int kD>() {
    const auto run = [&]<bool dropped>() {
      constexpr int kQueries = kQueriesPassed<dropped>;
      launch<tensor_keys_kernel<kD, kQueries, dropped>>(
          on, dim3(static_cast<unsigned>(e.batch * e.kv_heads() * (ceil_div(e.sequence, kKeysHeld)))), kTensorThreads,
          Shared<kKeysHeld, kQueries, kD>::kBytes, a);
      launch<tensor_queries_kernel<kD, dropped>>(
          on, dim3(static_cast<unsigned>(e.batch * e.heads * (ceil_div(e.sequence, kQueriesHeld)))), kTensorThreads,
          Shared<kQueriesHeld, kKeysPassed, kD>::kBytes, a);
    };
    if (e.mask.dropout.threshold != 0) {
      run.template operator()<true>();
    } else {
      run.template operator()<false>();
    }
  });
}

}  // namespace galleon::cuda

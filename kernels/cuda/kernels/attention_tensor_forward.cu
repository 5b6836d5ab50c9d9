// The forward of attention in bf16 on tensor cores: tiles and an online softmax whose scores never leave registers (Dao
// 2023). A warp owns 32 queries, so that what it loads of keys and values serves two products. While a tile of keys is
// multiplied its values arrive, and while these are multiplied the next keys do.
#include "kernels/cuda/kernels/attention_fragments.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/launch.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {
namespace {

constexpr int kM = 2;  // times 16 queries of a warp
constexpr int kQueries = kTensorWarps * 16 * kM;

// Keys of a tile: their scores must fit the registers that 32 rows of the output leave.
template <bool dropped>
constexpr int kKeysOf = dropped ? 32 : 64;
template <int kD, bool dropped>
constexpr int kUnrolled = kD > 96 || dropped ? 2 : kD / 16;

template <int kD, int kKeys>
constexpr size_t kShared = (kQueries + 2 * kKeys) * kRowBytes<kD>;

// Over the 4 lanes that share a row.
__device__ __forceinline__ float quad_max(float x) {
  const float y = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(y, __shfl_xor_sync(kAllLanes, y, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
  const float y = x + __shfl_xor_sync(kAllLanes, x, 1);
  return y + __shfl_xor_sync(kAllLanes, y, 2);
}

// Drops probabilities of a tile whose first query and key are i0 and j0.
template <int kN>
__device__ __forceinline__ void drop(const DeviceMask& mask, int64_t unit, int i0, int j0, float (&p)[kM][kN][4]) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first_word(mask, unit, i0 + 16 * m + 8 * half + fragment_row()) + j0 + fragment_column();
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        float first;
        float second;
        dropout_factors(mask, row + 8 * n, first, second);
        p[m][n][2 * half] *= first;
        p[m][n][2 * half + 1] *= second;
      }
    }
  }
}

// out (B·T, H·D) and log_sum (B·H, T) of a tile of queries, over the keys in order.
template <int kD, int kKeys, bool dropped>
__global__ void __launch_bounds__(kTensorThreads, 2) tensor_forward_kernel(AttentionForward<BFloat16> a) {
  constexpr int kN = kKeys / 8;
  auto* q_tile = dynamic_shared<unsigned char>();
  unsigned char* own_rows = q_tile + warp_of_thread() * 16 * kM * kRowBytes<kD>;
  const SharedAddress q_copy = shared_address(q_tile);
  const SharedAddress k_copy = q_copy + kQueries * kRowBytes<kD>;
  const SharedAddress v_copy = k_copy + kKeys * kRowBytes<kD>;
  const SharedAddress q_left = shared_address(own_rows) + left_offset<kD>();
  const SharedAddress k_right = k_copy + right_offset<kD>();
  const SharedAddress v_right = v_copy + left_offset<kD>();

  const AttentionExtent& e = a.extent;
  const TileOfHead at = tile_of_block(e, e.heads, ceil_div(e.sequence, kQueries), e.mask.causal);
  const int64_t unit = at.sequence_index * e.heads + at.head;
  const int64_t kv_column = at.head / e.group * kD;
  const BFloat16* k = a.k.data + at.start * a.k.stride + kv_column;
  const BFloat16* v = a.v.data + at.start * a.v.stride + kv_column;
  const int i0 = static_cast<int>(at.tile) * kQueries;
  const int own_i0 = i0 + warp_of_thread() * 16 * kM;
  const int64_t token = at.start + i0;
  const Mask32 mask = mask32(e.mask, at.length);
  const Range keys = i0 < at.length ? keys_seen(e.mask, at.length, i0, kQueries, kKeys) : Range{0, 0};
  const int end = static_cast<int>(keys.end);
  const float scale = e.scale * kLog2OfE;

  float o[kM][kD / 8][4] = {};
  float largest[kM][2];
  float total[kM][2];
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    largest[m][0] = largest[m][1] = -INFINITY;
    total[m][0] = total[m][1] = 0.0F;
  }
  int j0 = static_cast<int>(keys.begin);
  if (j0 < end) {
    copy_tile<kQueries, kD>(q_copy, a.q.data + token * a.q.stride + at.head * kD, a.q.stride, at.length - i0);
    copy_tile<kKeys, kD>(k_copy, k + j0 * a.k.stride, a.k.stride, end - j0);
  }
  copy_async_commit();
  for (; j0 < end; j0 += kKeys) {
    copy_async_wait<0>();
    __syncthreads();  // the keys are there, and the last values are read
    copy_tile<kKeys, kD>(v_copy, v + j0 * a.v.stride, a.v.stride, end - j0);
    copy_async_commit();
    float s[kM][kN][4];
    multiply_rows<kD, kUnrolled<kD, dropped>>(q_left, k_right, s);
    if (!mask.all_see(own_i0, 16 * kM, j0, kKeys)) {
      apply_mask<false>(mask, own_i0 + fragment_row(), j0 + fragment_column(), s);
    }
    float shrink[kM][2];
    bool shrinks = false;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float highest = largest[m][half];
#pragma unroll
        for (int n = 0; n < kN; ++n) highest = fmaxf(highest, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
        highest = quad_max(highest);
        const float reference = row_reference(highest) * scale;
        shrink[m][half] = exp2_approximate(largest[m][half] * scale - reference);
        largest[m][half] = highest;
        float sum = 0.0F;
#pragma unroll
        for (int n = 0; n < kN; ++n) {
#pragma unroll
          for (int x = 2 * half; x < 2 * half + 2; ++x) {
            s[m][n][x] = exp2_approximate(s[m][n][x] * scale - reference);
            sum += s[m][n][x];
          }
        }
        // A thread's share alone: lanes are added up at the end, as all of them shrink alike.
        total[m][half] = total[m][half] * shrink[m][half] + sum;
        shrinks = shrinks || shrink[m][half] != 1.0F;
      }
    }
    if constexpr (dropped) drop(e.mask, unit, own_i0, j0, s);
    uint32_t p[kM][kN / 2][4];
    round_to_left(s, p);
    // Once the largest scores of its rows are found, nothing of a warp shrinks any more.
    if (__any_sync(kAllLanes, shrinks ? 1 : 0)) {
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int n = 0; n < kD / 8; ++n) {
#pragma unroll
          for (int x = 0; x < 4; ++x) o[m][n][x] *= shrink[m][x / 2];
        }
      }
    }
    copy_async_wait<0>();
    __syncthreads();  // the values are there, and the keys are read
    if (j0 + kKeys < end) copy_tile<kKeys, kD>(k_copy, k + (j0 + kKeys) * a.k.stride, a.k.stride, end - j0 - kKeys);
    copy_async_commit();
    add_product<kD>(p, v_right, o);
  }
  copy_async_wait<0>();
  float factors[kM][2];
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = quad_sum(total[m][half]);
      factors[m][half] = 1.0F / sum;
      const int i = own_i0 + 16 * m + 8 * half + fragment_row();
      if (fragment_column() == 0 && i < e.sequence) {
        a.log_sum[unit * e.sequence + i] = i < mask.length ? largest[m][half] * e.scale + logf(sum) : 0.0F;
      }
    }
  }
  store_rows<kD, kM>(o, factors, own_rows, at.length - own_i0,
                     a.out.data + (at.start + own_i0) * a.out.stride + at.head * kD, a.out.stride);
}

bool dimension_fits(const AttentionExtent& e) {
  return (e.dimension == 64 || e.dimension == 96 || e.dimension == 128) && e.sequence <= INT32_MAX / 2;
}

}  // namespace

bool on_tensor_cores(const AttentionForward<BFloat16>& a) {
  return dimension_fits(a.extent) && rows_aligned(2, a.q) && rows_aligned(2, a.k) && rows_aligned(2, a.v) &&
         rows_aligned(2, a.out);
}
bool on_tensor_cores(const AttentionBackward<BFloat16>& a) {
  return dimension_fits(a.extent) && rows_aligned(2, a.q) && rows_aligned(2, a.k) && rows_aligned(2, a.v) &&
         rows_aligned(2, a.dout) && rows_aligned(2, a.dq) && rows_aligned(2, a.dk) && rows_aligned(2, a.dv);
}

void attention_forward_on_tensor_cores(const Execution& on, const AttentionForward<BFloat16>& a) {
  const AttentionExtent& e = a.extent;
  const dim3 blocks(static_cast<unsigned>(e.batch * e.heads * (ceil_div(e.sequence, kQueries))));
  by_tensor_dimension(e.dimension, [&]<int kD>() {
    const auto run = [&]<bool dropped>() {
      constexpr int kKeys = kKeysOf<dropped>;
      launch<tensor_forward_kernel<kD, kKeys, dropped>>(on, blocks, kTensorThreads, kShared<kD, kKeys>, a);
    };
    if (e.mask.dropout.threshold != 0) {
      run.template operator()<true>();
    } else {
      run.template operator()<false>();
    }
  });
}

}  // namespace galleon::cuda

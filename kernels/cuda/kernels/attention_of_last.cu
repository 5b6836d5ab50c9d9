// Attention of the last position alone, as text grows: one pass over the keys and one over the values, each read once.
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/launch.h"
#include "kernels/math/exponential.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kMostDimension = 256;
constexpr int kMostOfLane = kMostDimension / kWarp;

// q, out (B, H·D), k, v (B·T, K·D), all_scores (B·H, T). A block to a head of a sequence. Every warp takes every
// kWarps-th key, its lanes side by side over the head's numbers; what the warps have summed is added in their order.
template <typename T>
__global__ void attention_of_last_kernel(int64_t sequence, int64_t heads, int64_t group, int64_t dimension,
                                         int64_t first, float scale, const T* __restrict__ q, int64_t ldq,
                                         const T* __restrict__ k, int64_t ldk, const T* __restrict__ v, int64_t ldv,
                                         T* __restrict__ out, int64_t ldo, float* all_scores) {
  __shared__ float sums[kWarps][kMostDimension];
  __shared__ float of_warps[kWarps];
  const int64_t index = blockIdx.x / heads;
  const int64_t head = blockIdx.x - index * heads;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const T* k_head = k + index * sequence * ldk + head / group * dimension;
  const T* v_head = v + index * sequence * ldv + head / group * dimension;
  float* scores = all_scores + static_cast<int64_t>(blockIdx.x) * sequence;
  float query[kMostOfLane];
  float own[kMostOfLane];
#pragma unroll
  for (int c = 0; c < kMostOfLane; ++c) {
    const int d = lane + kWarp * c;
    query[c] = d < dimension ? scale * math::load(q[index * ldq + head * dimension + d]) : 0.0F;
    own[c] = 0.0F;
  }
  float highest = -INFINITY;
  for (int64_t j = first + warp; j < sequence; j += kWarps) {
    float dot = 0.0F;
#pragma unroll
    for (int c = 0; c < kMostOfLane; ++c) {
      const int d = lane + kWarp * c;
      if (d < dimension) dot += query[c] * math::load(k_head[j * ldk + d]);
    }
    dot = warp_sum(dot);
    if (lane == 0) scores[j] = dot;
    highest = dot > highest ? dot : highest;
  }
  if (lane == 0) of_warps[warp] = highest;
  __syncthreads();
  for (const float other : of_warps) highest = other > highest ? other : highest;
  __syncthreads();
  float total = 0.0F;
  for (int64_t j = first + warp; j < sequence; j += kWarps) {
    const float p = math::exponential_of_negative(scores[j] - highest);
    total += p;
#pragma unroll
    for (int c = 0; c < kMostOfLane; ++c) {
      const int d = lane + kWarp * c;
      if (d < dimension) own[c] += p * math::load(v_head[j * ldv + d]);
    }
  }
  if (lane == 0) of_warps[warp] = total;
#pragma unroll
  for (int c = 0; c < kMostOfLane; ++c) sums[warp][lane + kWarp * c] = own[c];
  __syncthreads();
  const auto d = static_cast<int64_t>(threadIdx.x);
  if (d >= dimension) return;
  float all = 0.0F;
  float sum = 0.0F;
  for (int w = 0; w < kWarps; ++w) {
    all += of_warps[w];
    sum += sums[w][d];
  }
  math::store(out[index * ldo + head * dimension + d], sum / all);
}

template <typename T>
void attention_of_last(const Execution& on, const AttentionOfLast<T>& args) {
  const AttentionExtent& e = args.extent;
  launch<attention_of_last_kernel<T>>(on, dim3(static_cast<unsigned>(e.batch * e.heads)), kThreads, 0, e.sequence,
                                      e.heads, e.group, e.dimension, args.first, e.scale, args.q.data, args.q.stride,
                                      args.k.data, args.k.stride, args.v.data, args.v.stride, args.out.data,
                                      args.out.stride, args.scores);
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.attention_of_last = attention_of_last<T>;
}

}  // namespace

void fill_attention_of_last(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
}

}  // namespace galleon::cuda

// Attention: tensor cores where they can take the operands, else the kernels that take any.
#include "kernels/cuda/kernels/attention_kernels.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/kernels/scratch_sizes.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {
namespace {

template <typename T>
void attention(const Execution& on, const AttentionForward<T>& args) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (on_tensor_cores(args)) return attention_forward_on_tensor_cores(on, args);
  }
  attention_forward_in_fp32(on, args);
}

constexpr int kThreads = 256;

// row_dots (B·H, T) ← Σ dout·out. A warp to a position of a head.
template <typename T, int count>
__global__ void row_dots_kernel(AttentionBackward<T> a) {
  const AttentionExtent& e = a.extent;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t pairs = e.batch * e.sequence * e.heads;
  for (int64_t pair = grid_thread() / kWarp; pair < pairs; pair += grid_threads() / kWarp) {
    const int64_t position = pair / e.heads;
    const int64_t head = pair - position * e.heads;
    const int64_t sequence_index = position / e.sequence;
    const int64_t i = position - sequence_index * e.sequence;
    const math::SequenceRows rows = e.rows_of(sequence_index);
    if (i >= rows.length) continue;
    const int64_t token = rows.start + i;
    const T* x = a.dout.data + token * a.dout.stride + head * e.dimension;
    const T* y = a.out.data + token * a.out.stride + head * e.dimension;
    float sum = 0.0F;
    for (int64_t d = int64_t{lane} * count; d < e.dimension; d += kWarp * count) {
      const Piece<T, count> b = load_piece<count>(x + d);
      const Piece<T, count> c = load_piece<count>(y + d);
#pragma unroll
      for (int j = 0; j < count; ++j) sum += math::load(b.value[j]) * math::load(c.value[j]);
    }
    sum = warp_sum(sum);
    if (lane == 0) a.row_dots[(sequence_index * e.heads + head) * e.sequence + i] = sum;
  }
}

template <typename T>
void attention_backward(const Execution& on, const AttentionBackward<T>& args) {
  const AttentionExtent& e = args.extent;
  by_pieces<T>(e.dimension, {args.out, args.dout}, [&]<int count>() {
    launch<row_dots_kernel<T, count>>(on, blocks_for(e.batch * e.sequence * e.heads, kThreads / kWarp), kThreads, 0,
                                      args);
  });
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (on_tensor_cores(args)) return attention_backward_on_tensor_cores(on, args);
  }
  attention_backward_in_fp32(on, args);
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.attention = attention<T>;
  table.attention_backward = attention_backward<T>;
  table.attention_backward_workspace = attention_backward_workspace;
}

}  // namespace

void fill_attention(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
}

}  // namespace galleon::cuda

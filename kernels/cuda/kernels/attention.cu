// Attention: tensor cores where they can take the operands, else the kernels that take any.
#include "kernels/cuda/kernels/attention_kernels.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/kernels/scratch_sizes.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {
namespace {

AttentionExtent extent_of(int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads, int64_t dimension,
                          const AttentionSight& sight) {
  return {batch, sequence, heads, heads / kv_heads, dimension, 1.0F / __builtin_sqrtf(static_cast<float>(dimension)),
          sight};
}

template <typename T>
void attention(const Execution& on, int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads, int64_t dimension,
               const AttentionSight& sight, const T* q, int64_t ldq, const T* k, int64_t ldk, const T* v, int64_t ldv,
               T* out, int64_t ldo, float* log_sum) {
  const AttentionForward<T> operands{
      extent_of(batch, sequence, heads, kv_heads, dimension, sight), {q, ldq}, {k, ldk}, {v, ldv}, {out, ldo}, log_sum};
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (on_tensor_cores(operands)) return attention_forward_on_tensor_cores(on, operands);
  }
  attention_forward_in_fp32(on, operands);
}

constexpr int kThreads = 256;

// A warp to a position of a head.
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
void attention_backward(const Execution& on, int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads,
                        int64_t dimension, const AttentionSight& sight, const T* q, int64_t ldq, const T* k,
                        int64_t ldk, const T* v, int64_t ldv, const T* out, int64_t ldo, const float* log_sum,
                        const T* dout, int64_t lddo, T* dq, int64_t lddq, T* dk, int64_t lddk, T* dv, int64_t lddv,
                        void* scratch) {
  const AttentionBackward<T> operands{extent_of(batch, sequence, heads, kv_heads, dimension, sight),
                                      {q, ldq},
                                      {k, ldk},
                                      {v, ldv},
                                      {out, ldo},
                                      {dout, lddo},
                                      {dq, lddq},
                                      {dk, lddk},
                                      {dv, lddv},
                                      log_sum,
                                      static_cast<float*>(scratch)};
  by_pieces<T>(dimension, {{out, ldo}, {dout, lddo}}, [&]<int count>() {
    launch<row_dots_kernel<T, count>>(on, blocks_for(batch * sequence * heads, kThreads / kWarp), kThreads, 0,
                                      operands);
  });
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (on_tensor_cores(operands)) return attention_backward_on_tensor_cores(on, operands);
  }
  attention_backward_in_fp32(on, operands);
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

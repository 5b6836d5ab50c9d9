// Layer normalisation by rows.
#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/norm_rows.h"

namespace galleon::cuda {
namespace {

// The same for the forward and for its repetition, so that both have the same bits.
__device__ __forceinline__ float normalized(float x, float mean, float inverse, float weight, float bias) {
  return (x - mean) * inverse * weight + bias;
}

template <typename T, int kept>
__global__ void __launch_bounds__(kMostTeam)
    layer_norm_kernel(int64_t rows, int64_t n, bool wide, T* x, int64_t ldx, const T* __restrict__ delta, int64_t ldd,
                      const T* __restrict__ weight, const T* __restrict__ bias, float epsilon, T* y, int64_t ldy,
                      float* __restrict__ statistics) {
  constexpr int kCount = Pack<T>::kCount;
  __shared__ float shared[kMostTeam / kWarp];
  for (int64_t row = first_team_row(); row < rows; row += team_row_step()) {
    T* a = x + row * ldx;
    const T* d = delta != nullptr ? delta + row * ldd : nullptr;
    Piece<T, kCount> own[kept > 0 ? kept : 1];
    float sum[1] = {0.0F};
    read_residual_row<kept>(n, wide, a, d, own, [&](int k) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum[0] += math::load(own[k].value[i]);
    });
    team_sum(sum, shared);
    const float mean = sum[0] / static_cast<float>(n);
    // In a second pass: the difference of two sums of squares would lose the variance beside a large mean.
    float squares[1] = {0.0F};
    for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
      if constexpr (kept == 0) own[k] = load_within<kCount>(a, column, n, wide);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float centred = column + i < n ? math::load(own[k].value[i]) - mean : 0.0F;
        squares[0] += centred * centred;
      }
    });
    team_sum(squares, shared);
    const float inverse = 1.0F / __builtin_sqrtf(squares[0] / static_cast<float>(n) + epsilon);
    if (threadIdx.x == 0) {
      statistics[2 * row] = mean;
      statistics[2 * row + 1] = inverse;
    }
    T* out = y + row * ldy;
    for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
      if constexpr (kept == 0) own[k] = load_within<kCount>(a, column, n, wide);
      const Piece<T, kCount> w = load_within<kCount>(weight, column, n, wide);
      const Piece<T, kCount> b = load_within<kCount>(bias, column, n, wide);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        store_rounded(own[k].value[i], normalized(math::load(own[k].value[i]), mean, inverse, math::load(w.value[i]),
                                                  math::load(b.value[i])));
      }
      store_within(out, column, n, wide, own[k]);
    });
  }
}

template <typename T>
void layer_norm(const Execution& on, const LayerNorm<T>& a) {
  const RowTeams teams = forward_teams(a.rows, a.n, Pack<T>::kCount);
  const bool wide = rows_aligned(a.rows, a.x) && (a.delta.data == nullptr || rows_aligned(a.rows, a.delta)) &&
                    vector_aligned(a.weight) && vector_aligned(a.bias) && rows_aligned(a.rows, a.y);
  const auto run = [&]<int kept>() {
    launch<layer_norm_kernel<T, kept>>(on, teams.grid(), teams.block(), 0, a.rows, a.n, wide, a.x.data, a.x.stride,
                                       a.delta.data, a.delta.stride, a.weight, a.bias, a.epsilon, a.y.data, a.y.stride,
                                       a.statistics);
  };
  if (teams.kept) {
    run.template operator()<kForwardKept>();
  } else {
    run.template operator()<0>();
  }
}

template <typename T>
struct Recompute {
  Rows<const T> x;
  Rows<const T> weight;  // of stride 0, as bias
  Rows<const T> bias;
  const float* statistics;
  Rows<T> y;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const auto a = x.template load<count>(row, column);
    const auto w = weight.template load<count>(0, column);
    const auto b = bias.template load<count>(0, column);
    const float mean = statistics[2 * row];
    const float inverse = statistics[2 * row + 1];
    Piece<T, count> out;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      store_rounded(out.value[i],
                    normalized(math::load(a.value[i]), mean, inverse, math::load(w.value[i]), math::load(b.value[i])));
    }
    y.template store<count>(row, column, out);
  }
};

template <typename T>
void layer_norm_recompute(const Execution& on, const LayerNormRecompute<T>& a) {
  const Recompute<T> body{rows_of(a.x), vector_rows(a.weight), vector_rows(a.bias), a.statistics, rows_of(a.y)};
  const bool wide = body.x.aligned(a.rows) && body.weight.aligned(1) && body.bias.aligned(1) && body.y.aligned(a.rows);
  elementwise<Pack<T>::kCount>(on, a.rows, a.n, wide, body);
}

// With x̂ = (x − mean)·s, y = x̂·w + b and g = dy·w: dx = s·(g − mean(g) − x̂·mean(g·x̂)), dw = Σ_rows dy·x̂, db = Σ_rows
// dy. A team's dw and db stay in its registers over all of its rows; `partial` (null: not wanted) gets n numbers of
// each from each team. dx may be dy.
template <typename T, int kept>
__global__ void __launch_bounds__(kMostTeam)
    layer_norm_backward_kernel(int64_t rows, int64_t n, bool wide, const T* __restrict__ x, int64_t ldx,
                               const T* __restrict__ weight, const float* __restrict__ statistics, const T* dy,
                               int64_t lddy, T* dx, int64_t lddx, float* __restrict__ partial) {
  constexpr int kCount = Pack<T>::kCount;
  __shared__ float shared[2 * kMostTeam / kWarp];
  float* own_dw = partial != nullptr ? partial + first_team_row() * 2 * n : nullptr;
  float* own_db = partial != nullptr ? own_dw + n : nullptr;
  float dw[kept > 0 ? kept : 1][kCount] = {};
  float db[kept > 0 ? kept : 1][kCount] = {};
  if (kept == 0 && partial != nullptr) {
    for (int64_t i = threadIdx.x; i < 2 * n; i += blockDim.x) own_dw[i] = 0.0F;
    __syncthreads();
  }
  const float share = 1.0F / static_cast<float>(n);
  for (int64_t row = first_team_row(); row < rows; row += team_row_step()) {
    const T* a = x + row * ldx;
    const T* d = dy + row * lddy;
    const float mean = statistics[2 * row];
    const float inverse = statistics[2 * row + 1];
    Piece<T, kCount> input[kept > 0 ? kept : 1];
    Piece<T, kCount> gradient[kept > 0 ? kept : 1];
    const auto load = [&](int k, int64_t column) {
      input[k] = load_within<kCount>(a, column, n, wide);
      gradient[k] = load_within<kCount>(d, column, n, wide);
    };
    float sums[2] = {0.0F, 0.0F};
    for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
      load(k, column);
      const Piece<T, kCount> w = load_within<kCount>(weight, column, n, wide);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float g = math::load(gradient[k].value[i]);  // 0 beyond the end
        const float normal = (math::load(input[k].value[i]) - mean) * inverse;
        const float weighted = g * math::load(w.value[i]);
        sums[0] += weighted;
        sums[1] += weighted * normal;
        if constexpr (kept > 0) {
          dw[k][i] += g * normal;
          db[k][i] += g;
        } else if (partial != nullptr && column + i < n) {
          own_dw[column + i] += g * normal;
          own_db[column + i] += g;
        }
      }
    });
    team_sum(sums, shared);
    const float level = sums[0] * share;
    const float slope = sums[1] * share;
    T* out = dx + row * lddx;
    for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
      if constexpr (kept == 0) load(k, column);
      const Piece<T, kCount> w = load_within<kCount>(weight, column, n, wide);
      Piece<T, kCount> result;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float normal = (math::load(input[k].value[i]) - mean) * inverse;
        store_rounded(result.value[i],
                      inverse * (math::load(gradient[k].value[i]) * math::load(w.value[i]) - level - normal * slope));
      }
      store_within(out, column, n, wide, result);
    });
  }
  if constexpr (kept > 0) {
    if (partial == nullptr) return;
    for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (column + i >= n) continue;
        own_dw[column + i] = dw[k][i];
        own_db[column + i] = db[k][i];
      }
    });
  }
}

template <typename T>
void layer_norm_backward(const Execution& on, const LayerNormBackward<T>& a, void* scratch) {
  const RowTeams teams = backward_teams(a.rows, a.n, Pack<T>::kCount);
  const bool wide =
      rows_aligned(a.rows, a.x) && vector_aligned(a.weight) && rows_aligned(a.rows, a.dy) && rows_aligned(a.rows, a.dx);
  float* partial = a.dweight != nullptr || a.dbias != nullptr ? static_cast<float*>(scratch) : nullptr;
  const auto run = [&]<int kept>() {
    launch<layer_norm_backward_kernel<T, kept>>(on, teams.grid(), teams.block(), 0, a.rows, a.n, wide, a.x.data,
                                                a.x.stride, a.weight, a.statistics, a.dy.data, a.dy.stride, a.dx.data,
                                                a.dx.stride, partial);
  };
  if (teams.kept) {
    run.template operator()<kBackwardKept>();
  } else {
    run.template operator()<0>();
  }
  if (a.dweight != nullptr) add_parts(on, teams.teams(), a.n, partial, 2 * a.n, a.dweight);
  if (a.dbias != nullptr) add_parts(on, teams.teams(), a.n, partial + a.n, 2 * a.n, a.dbias);
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.layer_norm = layer_norm<T>;
  table.layer_norm_recompute = layer_norm_recompute<T>;
  table.layer_norm_backward = layer_norm_backward<T>;
  table.layer_norm_backward_workspace = layer_norm_backward_workspace;
}

}  // namespace

void fill_layer_norm(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
}

}  // namespace galleon::cuda

// RMS normalisation by rows.
#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/norm_rows.h"

namespace galleon::cuda {
namespace {

template <typename T>
__device__ __forceinline__ Piece<T, Pack<T>::kCount> scaled(const Piece<T, Pack<T>::kCount>& x, float inverse,
                                                            const Piece<T, Pack<T>::kCount>& weight) {
  Piece<T, Pack<T>::kCount> y;
#pragma unroll
  for (int i = 0; i < Pack<T>::kCount; ++i)
    store_rounded(y.value[i], math::load(x.value[i]) * inverse * math::load(weight.value[i]));
  return y;
}

template <typename T, int kept>
__global__ void __launch_bounds__(kMostTeam)
    rms_norm_kernel(int64_t rows, int64_t n, bool wide, T* x, int64_t ldx, const T* __restrict__ delta, int64_t ldd,
                    const T* __restrict__ weight, float epsilon, T* y, int64_t ldy, float* __restrict__ inverse_rms) {
  constexpr int kCount = Pack<T>::kCount;
  __shared__ float shared[kMostTeam / kWarp];
  for (int64_t row = first_team_row(); row < rows; row += team_row_step()) {
    T* a = x + row * ldx;
    const T* d = delta != nullptr ? delta + row * ldd : nullptr;
    Piece<T, kCount> own[kept > 0 ? kept : 1];
    float squares[1] = {0.0F};
    read_residual_row<kept>(n, wide, a, d, own, [&](int k) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) squares[0] += math::load(own[k].value[i]) * math::load(own[k].value[i]);
    });
    team_sum(squares, shared);
    const float inverse = 1.0F / __builtin_sqrtf(squares[0] / static_cast<float>(n) + epsilon);
    if (threadIdx.x == 0) inverse_rms[row] = inverse;
    T* out = y + row * ldy;
    for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
      if constexpr (kept == 0) own[k] = load_within<kCount>(a, column, n, wide);
      store_within(out, column, n, wide, scaled<T>(own[k], inverse, load_within<kCount>(weight, column, n, wide)));
    });
  }
}

template <typename T>
void rms_norm(const Execution& on, const RmsNorm<T>& a) {
  const RowTeams teams = forward_teams(a.rows, a.n, Pack<T>::kCount);
  const bool wide = rows_aligned(a.rows, a.x) && (a.delta.data == nullptr || rows_aligned(a.rows, a.delta)) &&
                    vector_aligned(a.weight) && rows_aligned(a.rows, a.y);
  const auto run = [&]<int kept>() {
    launch<rms_norm_kernel<T, kept>>(on, teams.grid(), teams.block(), 0, a.rows, a.n, wide, a.x.data, a.x.stride,
                                     a.delta.data, a.delta.stride, a.weight, a.epsilon, a.y.data, a.y.stride,
                                     a.inverse_rms);
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
  Rows<const T> weight;  // of stride 0
  const float* inverse_rms;
  Rows<T> y;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const auto a = x.template load<count>(row, column);
    const auto w = weight.template load<count>(0, column);
    const float inverse = inverse_rms[row];
    Piece<T, count> out;
#pragma unroll
    for (int i = 0; i < count; ++i)
      store_rounded(out.value[i], math::load(a.value[i]) * inverse * math::load(w.value[i]));
    y.template store<count>(row, column, out);
  }
};

template <typename T>
void rms_norm_recompute(const Execution& on, const RmsNormRecompute<T>& a) {
  const Recompute<T> body{rows_of(a.x), vector_rows(a.weight), a.inverse_rms, rows_of(a.y)};
  const bool wide = body.x.aligned(a.rows) && body.weight.aligned(1) && body.y.aligned(a.rows);
  elementwise<Pack<T>::kCount>(on, a.rows, a.n, wide, body);
}

// With y_i = x_i·s·w_i and s = 1/rms: dx_i = s·w_i·dy_i − x_i·s³/n·Σ_j dy_j·w_j·x_j, dw_i = Σ_rows dy_i·x_i·s. A team's
// dw stays in its registers over all of its rows; `partial` (null: not wanted) gets n numbers from each team.
template <typename T, int kept>
__global__ void __launch_bounds__(kMostTeam)
    rms_norm_backward_kernel(int64_t rows, int64_t n, bool wide, const T* __restrict__ x, int64_t ldx,
                             const T* __restrict__ weight, const float* __restrict__ inverse_rms,
                             const T* __restrict__ dy, int64_t lddy, T* __restrict__ dx, int64_t lddx,
                             float* __restrict__ partial) {
  constexpr int kCount = Pack<T>::kCount;
  __shared__ float shared[kMostTeam / kWarp];
  float* own_partial = partial != nullptr ? partial + first_team_row() * n : nullptr;
  float dw[kept > 0 ? kept : 1][kCount] = {};
  if (kept == 0 && partial != nullptr) {
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) own_partial[i] = 0.0F;
    __syncthreads();
  }
  for (int64_t row = first_team_row(); row < rows; row += team_row_step()) {
    const T* a = x + row * ldx;
    const T* d = dy + row * lddy;
    const float s = inverse_rms[row];
    Piece<T, kCount> input[kept > 0 ? kept : 1];
    Piece<T, kCount> gradient[kept > 0 ? kept : 1];
    const auto load = [&](int k, int64_t column) {
      input[k] = load_within<kCount>(a, column, n, wide);
      gradient[k] = load_within<kCount>(d, column, n, wide);
    };
    float dot[1] = {0.0F};
    for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
      load(k, column);
      const Piece<T, kCount> w = load_within<kCount>(weight, column, n, wide);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float product = math::load(gradient[k].value[i]) * math::load(input[k].value[i]);
        dot[0] += product * math::load(w.value[i]);
        if constexpr (kept > 0) {
          dw[k][i] += product * s;
        } else if (partial != nullptr && column + i < n) {
          own_partial[column + i] += product * s;
        }
      }
    });
    team_sum(dot, shared);
    const float common = dot[0] * s * s * s / static_cast<float>(n);
    T* out = dx + row * lddx;
    for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
      if constexpr (kept == 0) load(k, column);
      const Piece<T, kCount> w = load_within<kCount>(weight, column, n, wide);
      Piece<T, kCount> sum = load_within<kCount>(out, column, n, wide);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float own =
            s * math::load(w.value[i]) * math::load(gradient[k].value[i]) - math::load(input[k].value[i]) * common;
        store_rounded(sum.value[i], math::load(sum.value[i]) + own);
      }
      store_within(out, column, n, wide, sum);
    });
  }
  if constexpr (kept > 0) {
    if (partial == nullptr) return;
    for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (column + i < n) own_partial[column + i] = dw[k][i];
      }
    });
  }
}

template <typename T>
void rms_norm_backward(const Execution& on, const RmsNormBackward<T>& a, void* scratch) {
  const RowTeams teams = backward_teams(a.rows, a.n, Pack<T>::kCount);
  const bool wide =
      rows_aligned(a.rows, a.x) && vector_aligned(a.weight) && rows_aligned(a.rows, a.dy) && rows_aligned(a.rows, a.dx);
  float* partial = a.dweight != nullptr ? static_cast<float*>(scratch) : nullptr;
  const auto run = [&]<int kept>() {
    launch<rms_norm_backward_kernel<T, kept>>(on, teams.grid(), teams.block(), 0, a.rows, a.n, wide, a.x.data,
                                              a.x.stride, a.weight, a.inverse_rms, a.dy.data, a.dy.stride, a.dx.data,
                                              a.dx.stride, partial);
  };
  if (teams.kept) {
    run.template operator()<kBackwardKept>();
  } else {
    run.template operator()<0>();
  }
  if (a.dweight != nullptr) add_parts(on, teams.teams(), a.n, partial, a.n, a.dweight);
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.rms_norm = rms_norm<T>;
  table.rms_norm_recompute = rms_norm_recompute<T>;
  table.rms_norm_backward = rms_norm_backward<T>;
  table.rms_norm_backward_workspace = rms_norm_backward_workspace;
}

}  // namespace

void fill_norm(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
}

}  // namespace galleon::cuda

// Weights, one pass over memory: step, decay, and one rounding.
#include <type_traits>

#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/math/rounding.h"
#include "kernels/math/split_weight.h"

namespace galleon::cuda {
namespace {

__device__ __forceinline__ float moved(float weight, float back, float step, float keep) {
  return (weight - step * back) * keep;
}

__device__ __forceinline__ void round_to(float& to, float value, uint32_t, uint32_t) {
  to = value;
}
__device__ __forceinline__ void round_to(BFloat16& to, float value, uint32_t row, uint32_t column) {
  to = math::to_bfloat16_stochastic(value, math::rounding_noise(row, column));
}

template <typename T>
struct Apply {
  Rows<const float> back;
  Rows<T> weight;
  float step;
  float keep;
  uint64_t noise;
  int64_t first_row;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const auto update = back.template load<count>(row, column);
    auto w = weight.template load<count>(row, column);
    const uint32_t of_row = math::rounding_row(noise, first_row + row);
#pragma unroll
    for (int i = 0; i < count; ++i) {
      round_to(w.value[i], moved(math::load(w.value[i]), update.value[i], step, keep), of_row,
               static_cast<uint32_t>(column) + static_cast<uint32_t>(i));
    }
    weight.template store<count>(row, column, w);
  }
};

// The weight becomes the nearest number of its master copy.
template <typename T>
struct ApplyToMaster {
  Rows<const float> back;
  Rows<T> weight;
  Rows<float> master;
  float step;
  float keep;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const auto update = back.template load<count>(row, column);
    auto m = master.template load<count>(row, column);
    Piece<T, count> w;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      m.value[i] = moved(m.value[i], update.value[i], step, keep);
      store_rounded(w.value[i], m.value[i]);
    }
    master.template store<count>(row, column, m);
    weight.template store<count>(row, column, w);
  }
};

// A weight of 24 bits. Its remainders move byte by byte: a piece of weights has fewer of them than a thread loads.
struct ApplyToSplit {
  Rows<const float> back;
  Rows<BFloat16> weight;
  Matrix<uint8_t> remainder;
  float step;
  float keep;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const auto update = back.template load<count>(row, column);
    auto w = weight.template load<count>(row, column);
    uint8_t* behind = remainder.row(row) + column;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const float value = moved(math::joined(w.value[i], behind[i]), update.value[i], step, keep);
      math::split(value, w.value[i], behind[i]);
    }
    weight.template store<count>(row, column, w);
  }
};

template <typename T>
void apply(const Execution& on, const ApplyUpdate<T>& a) {
  const bool wide = rows_aligned(a.rows, a.back) && rows_aligned(a.rows, a.weight);
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (a.remainder.data != nullptr) {
      const ApplyToSplit body{rows_of(a.back), rows_of(a.weight), a.remainder, a.step, a.keep};
      elementwise<Pack<T>::kCount>(on, a.rows, a.n, wide, body);
      return;
    }
  }
  if (a.master.data == nullptr) {
    const Apply<T> body{rows_of(a.back), rows_of(a.weight), a.step, a.keep, a.noise, a.first_row};
    elementwise<Pack<T>::kCount>(on, a.rows, a.n, wide, body);
  } else {
    const ApplyToMaster<T> body{rows_of(a.back), rows_of(a.weight), rows_of(a.master), a.step, a.keep};
    elementwise<Pack<T>::kCount>(on, a.rows, a.n, wide && rows_aligned(a.rows, a.master), body);
  }
}

}  // namespace

void fill_weight_update(OperationTable& table) {
  table.f32.apply = apply<float>;
  table.bf16.apply = apply<BFloat16>;
}

}  // namespace galleon::cuda

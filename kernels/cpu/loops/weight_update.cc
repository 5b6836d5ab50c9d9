// Weights, one pass over memory: step, decay, and one rounding.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/rounding.h"
#include "kernels/math/split_weight.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

GALLEON_FORMULA void apply_row(int64_t n, const float* back, float step, float keep, float* weight, uint32_t) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) weight[i] = (weight[i] - step * back[i]) * keep;
}

GALLEON_FORMULA void apply_row(int64_t n, const float* back, float step, float keep, BFloat16* weight, uint32_t noise) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float value = (math::to_float(weight[i]) - step * back[i]) * keep;
    weight[i] = math::to_bfloat16_stochastic(value, math::rounding_noise(noise, static_cast<uint32_t>(i)));
  }
}

// Only bf16 weights have remainders.
GALLEON_FORMULA void apply_split_row(int64_t, const float*, float, float, float*, uint8_t*) {}

GALLEON_FORMULA void apply_split_row(int64_t n, const float* back, float step, float keep, BFloat16* weight,
                                     uint8_t* remainder) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float value = (math::joined(weight[i], remainder[i]) - step * back[i]) * keep;
    BFloat16 half;
    uint8_t behind = 0;
    math::split(value, half, behind);
    weight[i] = half;
    remainder[i] = behind;
  }
}

template <typename T>
void apply(const Execution& on, const ApplyUpdate<T>& args) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
  const float step = args.step;
  const float keep = args.keep;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 150))
  for (int64_t row = 0; row < rows; ++row) {
    const float* b = args.back.row(row);
    T* w = args.weight.row(row);
    if (args.remainder.data != nullptr) {
      apply_split_row(n, b, step, keep, w, args.remainder.row(row));
      continue;
    }
    if (args.master.data == nullptr) {
      apply_row(n, b, step, keep, w, math::rounding_row(args.noise, args.first_row + row));
      continue;
    }
    float* m = args.master.row(row);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const float value = (m[i] - step * b[i]) * keep;
      m[i] = value;
      math::store(w[i], value);
    }
  }
}

}  // namespace

void fill_weight_update(OperationTable& table) {
  table.f32.apply = apply<float>;
  table.bf16.apply = apply<BFloat16>;
}

}  // namespace galleon::cpu::GALLEON_ISA

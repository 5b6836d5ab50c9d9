// Companded codes of moments. Compiled without fused products: codes are the same on every machine.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/adam.h"
#include "kernels/math/companded8.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kGroup = math::kCompandedGroup;

GALLEON_FORMULA int64_t numbers_of(int64_t group, int64_t size) {
  const int64_t left = size - group * kGroup;
  return left < kGroup ? left : kGroup;
}

GALLEON_FORMULA void decode_first(const CompandedNumbers& from, int64_t group, int64_t count, float* x) {
  const uint8_t* codes = from.codes + group * kGroup;
  const float scale = math::scale16_value(from.scales[group]);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] = math::softsign_value(codes[i], scale);
}

GALLEON_FORMULA void decode_second(const CompandedNumbers& from, int64_t group, int64_t count, float* x) {
  const uint8_t* codes = from.codes + group * kGroup;
  const float scale = math::scale16_value(from.scales[group]);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] = math::root_value(codes[i], scale);
}

// limits: of the magnitudes as they are coded, one for each number, or null.
GALLEON_FORMULA void encode_first(const float* x, const float* limits, int64_t group, int64_t count,
                                  const CompandedNumbers& to) {
  float largest = 0.0F;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) {
    const float magnitude = __builtin_fabsf(x[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  const uint16_t scale = math::scale16(largest);
  to.scales[group] = scale;
  const float unit = math::scale16_value(scale);
  const float per_scale = math::per_scale(unit);
  uint8_t* codes = to.codes + group * kGroup;
  if (limits == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(math::softsign_code(x[i], per_scale));
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const int nearest = math::softsign_code(x[i], per_scale);
    codes[i] = static_cast<uint8_t>(math::softsign_code_within(nearest, unit, limits[i]));
  }
}

// The roots take the place of x.
GALLEON_FORMULA void encode_second(float* x, int64_t group, int64_t count, const CompandedNumbers& to) {
  float largest = 0.0F;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) {
    const float root = __builtin_sqrtf(x[i]);
    x[i] = root;
    largest = root > largest ? root : largest;
  }
  const uint16_t scale = math::scale16(largest);
  to.scales[group] = scale;
  const float per_scale = math::per_scale(math::scale16_value(scale));
  uint8_t* codes = to.codes + group * kGroup;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(math::root_code(x[i], per_scale));
}

void companded_adam_update(const Execution& on, int64_t size, const AdamRule& rule, float* r,
                           const CompandedNumbers& coded_m, const CompandedNumbers& coded_v) {
  const float beta1 = rule.beta1;
  const float beta2 = rule.beta2;
  const float epsilon = rule.epsilon;
  const float gradient_scale = rule.gradient_scale;
  const int64_t groups = ceil_div(size, kGroup);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(size, 1500))
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t count = numbers_of(group, size);
    float* g = r + group * kGroup;
    alignas(64) float m[kGroup];
    alignas(64) float v[kGroup];
    alignas(64) float limits[kGroup];
    decode_first(coded_m, group, count, m);
    decode_second(coded_v, group, count, v);
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      float moment = m[i];
      float square = v[i];
      const float gradient = g[i] * gradient_scale;
      g[i] = math::adam(gradient, beta1, beta2, epsilon, moment, square);
      limits[i] = math::shrinking_limit(gradient, m[i], moment);
      m[i] = moment;
      v[i] = square;
    }
    encode_first(m, limits, group, count, coded_m);
    encode_second(v, group, count, coded_v);
  }
}

void encode_companded(const Execution& on, bool is_first, int64_t size, const float* x, const CompandedNumbers& to) {
  const int64_t groups = ceil_div(size, kGroup);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(size, 600))
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t count = numbers_of(group, size);
    const float* from = x + group * kGroup;
    if (is_first) {
      encode_first(from, nullptr, group, count, to);
      continue;
    }
    alignas(64) float roots[kGroup];
    for (int64_t i = 0; i < count; ++i) roots[i] = from[i];
    encode_second(roots, group, count, to);
  }
}

void decode_companded(const Execution& on, bool is_first, int64_t size, const CompandedNumbers& from, float* x) {
  const int64_t groups = ceil_div(size, kGroup);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(size, 300))
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t count = numbers_of(group, size);
    if (is_first) {
      decode_first(from, group, count, x + group * kGroup);
    } else {
      decode_second(from, group, count, x + group * kGroup);
    }
  }
}

}  // namespace

void fill_companded(OperationTable& table) {
  table.companded_adam_update = companded_adam_update;
  table.encode_companded = encode_companded;
  table.decode_companded = decode_companded;
}

}  // namespace galleon::cpu::GALLEON_ISA

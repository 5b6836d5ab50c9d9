// Moment rules, one pass over memory. Compiled without fused products: 8-bit moments get the same codes on every
// machine.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/adam.h"
#include "kernels/math/dynamic8.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

void adam_update(const Execution& on, int64_t size, const AdamRule& rule, float* r, float* m, float* v) {
  const float beta1 = rule.beta1;
  const float beta2 = rule.beta2;
  const float epsilon = rule.epsilon;
  const float gradient_scale = rule.gradient_scale;
#pragma omp parallel for simd num_threads(on.threads) schedule(static) if (worth_threads(size, 300))
  for (int64_t i = 0; i < size; ++i) {
    float moment = m[i];
    float square = v[i];
    r[i] = math::adam(r[i] * gradient_scale, beta1, beta2, epsilon, moment, square);
    m[i] = moment;
    v[i] = square;
  }
}

constexpr int64_t kMostBlock = 4096;

// The new moments of a block stay in the first-level cache until its largest numbers are known.
void adam8bit_update(const Execution& on, int64_t size, int64_t block, const AdamRule& rule, float* r,
                     const CodedNumbers& coded_m, const CodedNumbers& coded_v) {
  const float beta1 = rule.beta1;
  const float beta2 = rule.beta2;
  const float epsilon = rule.epsilon;
  const float gradient_scale = rule.gradient_scale;
  const int64_t blocks = ceil_div(size, block);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(size, 1500))
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = b * block;
    const int64_t count = size - begin < block ? size - begin : block;
    float* g = r + begin;
    uint8_t* mc = coded_m.codes + begin;
    uint8_t* vc = coded_v.codes + begin;
    const float m_scale = coded_m.scales[b];
    const float v_scale = coded_v.scales[b];
    alignas(64) float m[kMostBlock];
    alignas(64) float v[kMostBlock];
    // A loop of its own: reading a table is scalar work.
    for (int64_t i = 0; i < count; ++i) {
      m[i] = math::kDynamic8<true>.value[mc[i]];
      v[i] = math::kDynamic8<false>.value[vc[i]];
    }
    float m_largest = 0.0F;
    float v_largest = 0.0F;
#pragma omp simd reduction(max : m_largest, v_largest)
    for (int64_t i = 0; i < count; ++i) {
      float moment = m[i] * m_scale;
      float square = v[i] * v_scale;
      g[i] = math::adam(g[i] * gradient_scale, beta1, beta2, epsilon, moment, square);
      m[i] = moment;
      v[i] = square;
      const float magnitude = __builtin_fabsf(moment);
      m_largest = magnitude > m_largest ? magnitude : m_largest;
      v_largest = square > v_largest ? square : v_largest;
    }
    coded_m.scales[b] = m_largest;
    coded_v.scales[b] = v_largest;
    const float m_unit = m_largest > 0.0F ? m_largest : 1.0F;
    const float v_unit = v_largest > 0.0F ? v_largest : 1.0F;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) mc[i] = static_cast<uint8_t>(math::dynamic8_signed(m[i] / m_unit));
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) vc[i] = static_cast<uint8_t>(math::dynamic8_unsigned(v[i] / v_unit));
  }
}

void momentum_update(const Execution& on, int64_t size, float momentum, float gradient_scale, float* r, float* buffer) {
#pragma omp parallel for simd num_threads(on.threads) schedule(static) if (worth_threads(size, 200))
  for (int64_t i = 0; i < size; ++i) {
    const float moved = momentum * buffer[i] + gradient_scale * r[i];
    buffer[i] = moved;
    r[i] = moved;
  }
}

void combine(const Execution& on, int64_t size, float alpha, const float* x, float beta, const float* y, float* z) {
#pragma omp parallel for simd num_threads(on.threads) schedule(static) if (worth_threads(size, 150))
  for (int64_t i = 0; i < size; ++i) z[i] = alpha * x[i] + beta * y[i];
}

void scale(const Execution& on, int64_t size, float factor, const float* x, float* y) {
#pragma omp parallel for simd num_threads(on.threads) schedule(static) if (worth_threads(size, 100))
  for (int64_t i = 0; i < size; ++i) y[i] = factor * x[i];
}

void square(const Execution& on, int64_t size, const float* x, float* y) {
#pragma omp parallel for simd num_threads(on.threads) schedule(static) if (worth_threads(size, 100))
  for (int64_t i = 0; i < size; ++i) y[i] = x[i] * x[i];
}

}  // namespace

void fill_optimizer(OperationTable& table) {
  table.adam_update = adam_update;
  table.adam8bit_update = adam8bit_update;
  table.momentum_update = momentum_update;
  table.combine = combine;
  table.scale = scale;
  table.square = square;
}

}  // namespace galleon::cpu::GALLEON_ISA

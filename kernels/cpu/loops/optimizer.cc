// Moment rules, one pass over memory.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/adam.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

void adam_update(const Execution& on, int64_t size, float beta1, float beta2, float epsilon, float gradient_scale,
                 float* r, float* m, float* v) {
#pragma omp parallel for simd num_threads(on.threads) schedule(static) if (worth_threads(size, 300))
  for (int64_t i = 0; i < size; ++i) {
    float moment = m[i];
    float square = v[i];
    r[i] = math::adam(r[i] * gradient_scale, beta1, beta2, epsilon, moment, square);
    m[i] = moment;
    v[i] = square;
  }
}

}  // namespace

void fill_optimizer(OperationTable& table) {
  table.adam_update = adam_update;
}

}  // namespace galleon::cpu::GALLEON_ISA

// Moments and weights, one pass over memory.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/adam.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kPiece = 8192;

void adam_update(const Execution& on, int64_t size, float beta1, float beta2, float epsilon, float gradient_scale,
                 float* r, float* m, float* v) {
#pragma omp parallel for simd num_threads(on.threads) schedule(static) if (size > kPiece)
  for (int64_t i = 0; i < size; ++i) {
    float moment = m[i];
    float square = v[i];
    r[i] = math::adam(r[i] * gradient_scale, beta1, beta2, epsilon, moment, square);
    m[i] = moment;
    v[i] = square;
  }
}

void apply_dense(const Execution& on, int64_t rows, int64_t n, float* weight, int64_t ldw, const float* update,
                 int64_t ldu, float step, float keep) {
  const int64_t per_row = (n + kPiece - 1) / kPiece;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (rows * n > kPiece)
  for (int64_t piece = 0; piece < rows * per_row; ++piece) {
    const int64_t begin = piece % per_row * kPiece;
    const int64_t count = n - begin < kPiece ? n - begin : kPiece;
    float* w = weight + piece / per_row * ldw + begin;
    const float* u = update + piece / per_row * ldu + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) w[i] = (w[i] - step * u[i]) * keep;
  }
}

}  // namespace

void fill_optimizer(OperationTable& table) {
  table.adam_update = adam_update;
  table.apply_dense = apply_dense;
}

}  // namespace galleon::cpu::GALLEON_ISA

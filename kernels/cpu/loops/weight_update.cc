// Weights, one pass over memory.
#include "kernels/cpu/loops/loops.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kPiece = 8192;

void apply_dense(const Execution& on, int64_t rows, int64_t n, float* weight, int64_t ldw, const float* update,
                 int64_t ldu, float step, float keep) {
  const int64_t per_row = (n + kPiece - 1) / kPiece;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 100))
  for (int64_t piece = 0; piece < rows * per_row; ++piece) {
    const int64_t begin = piece % per_row * kPiece;
    const int64_t count = n - begin < kPiece ? n - begin : kPiece;
    float* w = weight + piece / per_row * ldw + begin;
    const float* u = update + piece / per_row * ldu + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) w[i] = (w[i] - step * u[i]) * keep;
  }
}

int64_t apply_projected_workspace(int64_t, int64_t, int64_t) {
  return 0;
}

// (w − step·u·pᵀ)·keep as one product that adds itself to the scaled weight. In fp32 it is faster than panels of a
// product that a second loop applies (26 ms against 47 for 24 matrices of 1376×512 at rank 128), and rounds as often.
void apply_projected(const Execution& on, int64_t rows, int64_t columns, int64_t rank, float* weight, int64_t ldw,
                     const float* update, int64_t ldu, const float* basis, int64_t ldb, float step, float keep, void*) {
  matmul(on, false, true, rows, columns, rank, -step * keep, update, ldu, basis, ldb, keep, weight, ldw, nullptr);
}

}  // namespace

void fill_weight_update(OperationTable& table) {
  table.apply_dense = apply_dense;
  table.apply_projected = apply_projected;
  table.apply_projected_workspace = apply_projected_workspace;
}

}  // namespace galleon::cpu::GALLEON_ISA

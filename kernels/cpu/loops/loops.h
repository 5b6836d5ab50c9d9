// The loops of the CPU, compiled once for each instruction set. Each of these files may hold only code of its own
// namespace and of unnamed namespaces, formulas that are always inlined, and headers without inline functions: a
// function that two files share could be emitted once, for the larger instruction set, and then called on a machine
// that lacks it.
#pragma once

#include "kernels/math/portable.h"
#include "kernels/operation_table.h"

namespace galleon::cpu {
// The number of threads that libraries take where they ask OpenMP: oneDNN, and OpenBLAS where it is one.
void use_openmp_threads(int threads);
// Whether a loop is worth more than one thread. Starting the others and waiting for them takes 5 to 10 µs, and several
// times that where they sleep or the core has other work, so what one thread does in 50 µs stays on it. `picoseconds`:
// of one element on one core, roughly, with operands in its second-level cache. No loop's result depends on the answer.
GALLEON_FORMULA bool worth_threads(int64_t elements, int64_t picoseconds) {
  return elements * picoseconds > 50'000'000;
}
// C ← alpha·op(A)·op(B) + beta·C on the calling thread, where OpenMP gives it no others; row-major, m×n from k.
void product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
             int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);
// The product of OperationTable, for loops around it.
void matmul(const Execution& on, const Product<float, float>& product, void* scratch);
}  // namespace galleon::cpu

#define GALLEON_DECLARE_LOOPS(isa)                \
  namespace galleon::cpu::isa {                   \
  void fill_activation(OperationTable& table);    \
  void fill_norm(OperationTable& table);          \
  void fill_layer_norm(OperationTable& table);    \
  void fill_bias(OperationTable& table);          \
  void fill_attention(OperationTable& table);     \
  void fill_embedding(OperationTable& table);     \
  void fill_loss(OperationTable& table);          \
  void fill_optimizer(OperationTable& table);     \
  void fill_adafactor(OperationTable& table);     \
  void fill_orthogonal(OperationTable& table);    \
  void fill_channels(OperationTable& table);      \
  void fill_quantize(OperationTable& table);      \
  void fill_companded(OperationTable& table);     \
  void fill_weight_update(OperationTable& table); \
  void fill_reductions(OperationTable& table);    \
  void fill_random(OperationTable& table);        \
  void fill_dropout(OperationTable& table);       \
  void fill_rotary(OperationTable& table);        \
  void fill_operations(OperationTable& table);    \
  }

GALLEON_DECLARE_LOOPS(baseline)
GALLEON_DECLARE_LOOPS(avx2)
GALLEON_DECLARE_LOOPS(avx512)

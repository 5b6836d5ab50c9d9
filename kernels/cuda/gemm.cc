// Matrix products of the CUDA device. fp32 is fp32: a user who wants tensor cores says `precision: bf16`, and numbers
// that were asked for in fp32 (losses, bases, sums of gradients) keep their 24 bits.
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/context_state.h"
#include "kernels/cuda/library_operations.h"
#include "kernels/cuda/steps.h"
#include "kernels/cuda/workspaces.h"

namespace galleon::cuda {

namespace {

template <typename T>
constexpr cudaDataType_t type_of() {
  return std::is_same_v<T, float> ? CUDA_R_32F : CUDA_R_16BF;
}

// The largest power of two up to 256 that divides the address.
uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data) | 256U;
  return static_cast<uint32_t>(address & (~address + 1));
}

template <typename T, typename C>
void multiply(const Execution& on, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
              const T* a, int64_t lda, const T* b, int64_t ldb, float beta, C* c, int64_t ldc, void* scratch) {
  if (k == 0) {
    scale_matrix(on, m, n, beta, c, ldc);
    return;
  }
  const ProductShape shape{
      transpose_a,     transpose_b,     type_of<T>(),    type_of<C>(),       m, n, k, lda, ldb, ldc,
      alignment_of(a), alignment_of(b), alignment_of(c), product_bytes(m, n)};
  on.cuda->products.multiply(*on.cuda, shape, alpha, a, b, beta, c, aligned_scratch(scratch));
}

}  // namespace

void fill_products(OperationTable& table) {
  table.f32.matmul = multiply<float, float>;
  table.f32.matmul_to_fp32 = multiply<float, float>;
  table.bf16.matmul = multiply<BFloat16, BFloat16>;
  table.bf16.matmul_to_fp32 = multiply<BFloat16, float>;
}

}  // namespace galleon::cuda

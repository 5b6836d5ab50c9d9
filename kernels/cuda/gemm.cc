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
void multiply(const Execution& on, const Product<T, C>& p, void* scratch) {
  if (p.k == 0) {
    scale_matrix(on, p.m, p.n, p.beta, p.c);
    return;
  }
  const ProductShape shape{p.transpose_a,
                           p.transpose_b,
                           type_of<T>(),
                           type_of<C>(),
                           p.m,
                           p.n,
                           p.k,
                           p.a.stride,
                           p.b.stride,
                           p.c.stride,
                           alignment_of(p.a.data),
                           alignment_of(p.b.data),
                           alignment_of(p.c.data),
                           product_bytes(p.m, p.n)};
  on.cuda->products.multiply(*on.cuda, shape, p.alpha, p.a.data, p.b.data, p.beta, p.c.data, aligned_scratch(scratch));
}

}  // namespace

void fill_products(OperationTable& table) {
  table.f32.matmul = multiply<float, float>;
  table.f32.matmul_to_fp32 = multiply<float, float>;
  table.bf16.matmul = multiply<BFloat16, BFloat16>;
  table.bf16.matmul_to_fp32 = multiply<BFloat16, float>;
}

}  // namespace galleon::cuda

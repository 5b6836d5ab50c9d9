// Matrix products through cuBLASLt: descriptions and the chosen algorithm, kept by shape, so that a step asks for none.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>

namespace galleon::cuda {

struct Context;

// Row-major C ← alpha·op(A)·op(B) + beta·C. Alignments are powers of two in bytes, at most 256.
struct ProductShape {
  bool transpose_a = false;
  bool transpose_b = false;
  cudaDataType_t operands = CUDA_R_32F;
  cudaDataType_t result = CUDA_R_32F;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  int64_t lda = 0;
  int64_t ldb = 0;
  int64_t ldc = 0;
  uint32_t alignment_a = 256;
  uint32_t alignment_b = 256;
  uint32_t alignment_c = 256;
  int64_t workspace = 0;
  friend auto operator<=>(const ProductShape&, const ProductShape&) = default;
};

class ProductCache {
 public:
  void multiply(Context& context, const ProductShape& shape, float alpha, const void* a, const void* b, float beta,
                void* c, void* workspace);

 private:
  struct DestroyDescription {
    void operator()(cublasLtMatmulDesc_t description) const { (void)cublasLtMatmulDescDestroy(description); }
  };
  struct DestroyLayout {
    void operator()(cublasLtMatrixLayout_t layout) const { (void)cublasLtMatrixLayoutDestroy(layout); }
  };
  using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, DestroyLayout>;
  struct Product {
    std::unique_ptr<cublasLtMatmulDescOpaque_t, DestroyDescription> description;
    Layout first;
    Layout second;
    Layout result;
    bool by_lt = true;  // otherwise by cuBLAS itself, which takes any stride and alignment
    cublasLtMatmulAlgo_t algorithm{};
  };
  static Product choose(Context& context, const ProductShape& shape);

  std::map<ProductShape, Product> products_;
};

}  // namespace galleon::cuda

#include "kernels/cuda/product_cache.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/context_state.h"
#include "kernels/cuda/status.h"

namespace galleon::cuda {

namespace {

struct DestroyPreference {
  void operator()(cublasLtMatmulPreference_t preference) const { (void)cublasLtMatmulPreferenceDestroy(preference); }
};
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, DestroyPreference>;

cublasLtMatrixLayout_t layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t stride) {
  cublasLtMatrixLayout_t made = nullptr;
  require(cublasLtMatrixLayoutCreate(&made, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), stride),
          "cublasLtMatrixLayoutCreate");
  return made;
}

template <typename T>
void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, T value) {
  require(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof(value)),
          "cublasLtMatmulDescSetAttribute");
}

template <typename T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, T value) {
  require(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute");
}

std::string text_of(const char* call, const ProductShape& s) {
  return absl::StrCat(call, ", m ", s.m, ", n ", s.n, ", k ", s.k, ", leading dimensions ", s.lda, ", ", s.ldb, ", ",
                      s.ldc, ", alignments ", s.alignment_a, ", ", s.alignment_b, ", ", s.alignment_c, " bytes");
}

}  // namespace

// To cuBLASLt, which is column-major, a row-major matrix is its transpose: Cᵀ = op(B)ᵀ·op(A)ᵀ, so that B comes first
// and both keep their flags.
ProductCache::Product ProductCache::choose(Context& context, const ProductShape& s) {
  Product product;
  cublasLtMatmulDesc_t description = nullptr;
  // fp32 operands are multiplied as fp32, never as tf32.
  require(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  product.description.reset(description);
  set(description, CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(description, CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  product.first.reset(layout(s.operands, s.transpose_b ? s.k : s.n, s.transpose_b ? s.n : s.k, s.ldb));
  product.second.reset(layout(s.operands, s.transpose_a ? s.m : s.k, s.transpose_a ? s.k : s.m, s.lda));
  product.result.reset(layout(s.result, s.n, s.m, s.ldc));

  cublasLtMatmulPreference_t made = nullptr;
  require(cublasLtMatmulPreferenceCreate(&made), "cublasLtMatmulPreferenceCreate");
  const Preference preference(made);
  set(made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(s.workspace));
  // Partial sums in fp32 alone: a result is rounded once.
  set(made, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, s.alignment_b);
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, s.alignment_a);
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, s.alignment_c);
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, s.alignment_c);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t asked =
      cublasLtMatmulAlgoGetHeuristic(context.blas_lt.get(), description, product.first.get(), product.second.get(),
                                     product.result.get(), product.result.get(), made, 1, &found, &count);
  product.by_lt = asked == CUBLAS_STATUS_SUCCESS && count == 1;
  if (!product.by_lt && asked != CUBLAS_STATUS_NOT_SUPPORTED) require(asked, "cublasLtMatmulAlgoGetHeuristic");
  product.algorithm = found.algo;
  return product;
}

void ProductCache::multiply(Context& context, const ProductShape& shape, float alpha, const void* a, const void* b,
                            float beta, void* c, void* workspace) {
  auto held = products_.find(shape);
  if (held == products_.end()) held = products_.emplace(shape, choose(context, shape)).first;
  const Product& product = held->second;
  if (!product.by_lt) {
    require(cublasGemmEx_64(context.blas.get(), shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                            shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, shape.n, shape.m, shape.k, &alpha, b,
                            shape.operands, shape.ldb, a, shape.operands, shape.lda, &beta, c, shape.result, shape.ldc,
                            CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
            "cublasGemmEx");
    context.settle([&] { return text_of("cublasGemmEx", shape); });
    return;
  }
  require(cublasLtMatmul(context.blas_lt.get(), product.description.get(), &alpha, b, product.first.get(), a,
                         product.second.get(), &beta, c, product.result.get(), c, product.result.get(),
                         &product.algorithm, workspace, static_cast<size_t>(shape.workspace), context.stream.get()),
          "cublasLtMatmul");
  context.settle([&] { return text_of("cublasLtMatmul", shape); });
}

}  // namespace galleon::cuda

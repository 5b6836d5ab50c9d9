// Products of bf16 matrices through oneDNN.
#pragma once

#include <cstdint>
#include <memory>

namespace galleon::cpu {

// What a product is made for. Strides and types are part of it: oneDNN generates code for each.
struct ProductShape {
  bool transpose_a = false;
  bool transpose_b = false;
  bool to_fp32 = false;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  int64_t lda = 0;
  int64_t ldb = 0;
  int64_t ldc = 0;
  float alpha = 1;
  float beta = 0;
  int threads = 1;
  friend auto operator<=>(const ProductShape&, const ProductShape&) = default;
};

// Generated products by shape; a device owns one. Safe to use from several threads.
class ProductCache {
 public:
  ProductCache();
  ~ProductCache();
  ProductCache(const ProductCache&) = delete;
  ProductCache& operator=(const ProductCache&) = delete;

  // C ← alpha·op(A)·op(B) + beta·C. False: oneDNN has no such product for this machine, and nothing happened.
  bool multiply(const ProductShape& shape, const void* a, const void* b, void* c);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace galleon::cpu

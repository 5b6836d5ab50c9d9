#include "kernels/cpu/low_precision.h"

#include <dnnl.hpp>
#include <map>
#include <mutex>

#include "common/base/check.h"

namespace galleon::cpu {

struct ProductCache::State {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::mutex mutex;
  // An empty product: there is none for this shape on this machine.
  std::map<ProductShape, std::shared_ptr<const dnnl::matmul>> products;
};

namespace {

using dnnl::memory;

struct Operands {
  memory::desc a;
  memory::desc b;
  memory::desc c;
};

memory::desc operand(int64_t rows, int64_t columns, int64_t stride, bool transposed, memory::data_type type) {
  return {memory::dims{rows, columns}, type, transposed ? memory::dims{1, stride} : memory::dims{stride, 1}};
}

Operands operands(const ProductShape& s) {
  return {operand(s.m, s.k, s.lda, s.transpose_a, memory::data_type::bf16),
          operand(s.k, s.n, s.ldb, s.transpose_b, memory::data_type::bf16),
          operand(s.m, s.n, s.ldc, false, s.to_fp32 ? memory::data_type::f32 : memory::data_type::bf16)};
}

std::shared_ptr<const dnnl::matmul> generate(const dnnl::engine& engine, const ProductShape& s) {
  const Operands o = operands(s);
  dnnl::primitive_attr attributes;
  if (s.alpha != 1.0F) attributes.set_output_scales(0, {s.alpha});
  if (s.beta != 0.0F) {
    dnnl::post_ops after;
    after.append_sum(s.beta);
    attributes.set_post_ops(after);
  }
  try {
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(o.a, o.b, o.c), attributes, engine);
    return std::make_shared<const dnnl::matmul>(description);
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented) return nullptr;
    GALLEON_CHECK(false) << "oneDNN: product of " << s.m << "x" << s.k << " and " << s.k << "x" << s.n << ": "
                         << error.what();
    return nullptr;
  }
}

}  // namespace

ProductCache::ProductCache() : state_(std::make_unique<State>()) {}
ProductCache::~ProductCache() = default;

bool ProductCache::multiply(const ProductShape& s, const void* a, const void* b, void* c) {
  std::shared_ptr<const dnnl::matmul> product;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    const auto [found, is_new] = state_->products.try_emplace(s);
    if (is_new) found->second = generate(state_->engine, s);
    product = found->second;
  }
  if (product == nullptr) return false;
  const Operands o = operands(s);
  // oneDNN takes inputs as addresses that it could write to, and does not.
  product->execute(state_->stream, {{DNNL_ARG_SRC, memory(o.a, state_->engine, const_cast<void*>(a))},
                                    {DNNL_ARG_WEIGHTS, memory(o.b, state_->engine, const_cast<void*>(b))},
                                    {DNNL_ARG_DST, memory(o.c, state_->engine, c)}});
  state_->stream.wait();
  return true;
}

}  // namespace galleon::cpu

#include "tests/gpu/suite/operations.h"

#include <utility>

#include "kernels/ops/activation.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/bias.h"
#include "kernels/ops/dropout.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/layer_norm.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/quantize.h"
#include "kernels/ops/random.h"
#include "kernels/ops/reduction.h"
#include "kernels/ops/weight_update.h"

namespace galleon::gpu {

namespace {

constexpr auto kFp32 = DataType::kFloat32;
constexpr auto kBf16 = DataType::kBFloat16;
constexpr int64_t kStateColumns = 1024;
constexpr int64_t kBlock = 256;  // of moments in 8 bits

}  // namespace

Operations::Operations(Device& device, const OperationSizes& sizes) : device_(device), sizes_(sizes), arena_(device) {
  add_activations();
  add_losses();
  add_states();
  add_reductions();
  add_products();
  add_decompositions();
}

// Normal numbers; zeros would draw less power than numbers do.
Tensor Operations::numbers(int64_t rows, int64_t columns, DataType type) {
  const Tensor t = arena_.tensor("operand", MemoryCategory::kActivations, rows, columns, type);
  GALLEON_CHECK(arena_.status().ok()) << arena_.status().ToString();
  const uint64_t stream = ++stream_;
  if (type == kFp32) {
    fill_normal(device_, t, 1, stream, 0, 0.0F, 1.0F);
    return t;
  }
  const Workspace wide(device_, rows * columns * bytes_of(kFp32));
  const Tensor drawn = wide.tensor(rows, columns);
  fill_normal(device_, drawn, 1, stream, 0, 0.0F, 1.0F);
  convert(device_, drawn, t);
  return t;
}

Tensor Operations::ids(int64_t count, int64_t limit) {
  const Tensor t = arena_.tensor("ids", MemoryCategory::kActivations, count, 1, DataType::kInt32);
  GALLEON_CHECK(arena_.status().ok()) << arena_.status().ToString();
  std::vector<int32_t> held(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) held[static_cast<size_t>(i)] = static_cast<int32_t>(i * 7919 % limit);
  device_.upload(t, held.data());
  return t;
}

// What lies between the products of a block, in bf16.
void Operations::add_activations() {
  Device& device = device_;
  const int64_t tokens = sizes_.tokens();
  const Tensor x = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor y = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor delta = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor wide = numbers(tokens, sizes_.hidden, kFp32);
  const Tensor weight = numbers(sizes_.hidden, 1, kBf16);
  const Tensor bias = numbers(sizes_.hidden, 1, kBf16);
  const Tensor dweight = numbers(sizes_.hidden, 1, kFp32);
  const Tensor dbias = numbers(sizes_.hidden, 1, kFp32);
  const Tensor roots = numbers(tokens, 1, kFp32);
  const Tensor statistics = numbers(tokens, 2, kFp32);
  memory("rms_norm", [=, &device] { rms_norm(device, x, weight, 1e-5F, y, roots); });
  memory("add_rms_norm", [=, &device] { add_rms_norm(device, x, delta, weight, 1e-5F, y, roots); });
  memory("rms_norm_recompute", [=, &device] { rms_norm_recompute(device, x, weight, roots, y); });
  memory("rms_norm_backward", [=, &device] { rms_norm_backward(device, x, weight, roots, delta, y, dweight); });
  memory("layer_norm", [=, &device] { layer_norm(device, x, weight, bias, 1e-5F, y, statistics); });
  memory("add_layer_norm", [=, &device] { add_layer_norm(device, x, delta, weight, bias, 1e-5F, y, statistics); });
  memory("layer_norm_recompute", [=, &device] { layer_norm_recompute(device, x, weight, bias, statistics, y); });
  memory("layer_norm_backward",
         [=, &device] { layer_norm_backward(device, x, weight, statistics, delta, y, dweight, dbias); });
  memory("add_bias", [=, &device] { add_bias(device, bias, y); });
  memory("bias_backward", [=, &device] { bias_backward(device, delta, dbias); });
  memory("dropout", [=, &device] { dropout(device, x, {1, 2, 0, 0.1}, y); });
  memory("add", [=, &device] { add(device, x, y); });
  memory("fill", [=, &device] { fill(device, y, 0.25F); });
  memory("copy", [=, &device] { copy(device, x, y); });
  memory("to_fp32", [=, &device] { convert(device, x, wide); });
  memory("from_fp32", [=, &device] { convert(device, wide, y); });

  const Tensor gate = numbers(tokens, sizes_.mlp, kBf16);
  const Tensor up = numbers(tokens, sizes_.mlp, kBf16);
  const Tensor out = numbers(tokens, sizes_.mlp, kBf16);
  memory("swiglu", [=, &device] { swiglu(device, gate, up, out); });
  memory("swiglu_backward", [=, &device] { swiglu_backward(device, gate, up, out, gate, up); });
  memory("gelu", [=, &device] { gelu(device, out, true, up); });
  memory("gelu_backward", [=, &device] { gelu_backward(device, out, true, up, gate); });
  memory("gelu_exact", [=, &device] { gelu(device, out, false, up); });
  memory("hyperbolic_tangent", [=, &device] { hyperbolic_tangent(device, out, up); });
  memory("hyperbolic_tangent_backward", [=, &device] { hyperbolic_tangent_backward(device, up, out, gate); });
  memory("transpose", [=, &device] { transpose(device, out, up.reshape(out.columns, out.rows)); });

  const Tensor turns = numbers(sizes_.sequence, sizes_.head, kFp32);
  memory("rotary", [=, &device, this] { rotary(device, y, turns, sizes_.sequence, sizes_.head, /*backward=*/false); });
  const Tensor words = ids(tokens, sizes_.vocabulary);
  const Tensor table = numbers(sizes_.vocabulary, sizes_.hidden, kBf16);
  const Tensor dtable = numbers(sizes_.vocabulary, sizes_.hidden, kFp32);
  memory("embedding", [=, &device] { embedding(device, words, table, y); });
  memory("embedding_backward", [=, &device] { embedding_backward(device, words, delta, dtable); });
}

void Operations::add_losses() {
  Device& device = device_;
  const Tensor logits = numbers(sizes_.logit_rows, sizes_.vocabulary, kFp32);
  const Tensor losses = numbers(sizes_.logit_rows, 1, kFp32);
  const Tensor targets = ids(sizes_.logit_rows, sizes_.vocabulary);
  memory("cross_entropy_forward", [=, &device] { cross_entropy_forward(device, logits, targets, losses); });
  memory("cross_entropy",
         [=, &device] { cross_entropy(device, logits, targets, 1e-5F, losses, gradient_over(logits, kBf16)); });
}

// Moments, codes and weights.
void Operations::add_states() {
  Device& device = device_;
  const int64_t rows = sizes_.state_rows;
  const Tensor r = numbers(rows, kStateColumns, kFp32);
  const Tensor m = numbers(rows, kStateColumns, kFp32);
  const Tensor v = numbers(rows, kStateColumns, kFp32);
  square(device, v, v);
  memory("adam_update", [=, &device] { adam_update(device, AdamRule(), r, m, v); });
  memory("momentum_update", [=, &device] { momentum_update(device, 0.9F, 1.0F, r, m); });
  memory("scale", [=, &device] { scale(device, 1.0F, r, m); });
  memory("square", [=, &device] { square(device, r, m); });

  AdafactorRule rule;
  rule.beta2 = 0.9F;
  rule.learning_rate = 1e-3F;
  const Tensor row_factors = numbers(rows, 1, kFp32);
  const Tensor column_factors = numbers(1, kStateColumns, kFp32);
  square(device, row_factors, row_factors);
  square(device, column_factors, column_factors);
  const Tensor sums = numbers(1, adafactor_sum_count(kStateColumns), kFp32);
  AdafactorRule averaged = rule;
  averaged.beta1 = 0.9F;
  memory("adafactor_sums", [=, &device] { adafactor_sums(device, rule, r, row_factors, sums); });
  memory("adafactor_update",
         [=, &device] { adafactor_update(device, rule, r, row_factors, column_factors, sums, r.rows, Tensor{}); });
  memory("adafactor_update_averaged",
         [=, &device] { adafactor_update(device, averaged, r, row_factors, column_factors, sums, r.rows, m); });

  const auto coded = [&](int64_t bytes, int64_t blocks) {
    return CodedMoment{arena_.tensor("codes", MemoryCategory::kActivations, bytes, 1, DataType::kUint8),
                       numbers(blocks, 1, kFp32)};
  };
  const auto moment = [&] {
    CodedMoment made = coded(rows * kStateColumns, rows * kStateColumns / kBlock);
    made.codes = made.codes.reshape(rows, kStateColumns);
    return made;
  };
  const CodedMoment coded_m = moment();
  const CodedMoment coded_v = moment();
  encode_moment(device, true, kBlock, r, coded_m);
  encode_moment(device, false, kBlock, v, coded_v);
  memory("adam8bit_update", [=, &device] { adam8bit_update(device, AdamRule(), kBlock, r, coded_m, coded_v); });
  memory("encode_moment_signed", [=, &device] { encode_moment(device, true, kBlock, m, coded_m); });
  memory("decode_moment_signed", [=, &device] { decode_moment(device, true, kBlock, coded_m, m); });
  memory("encode_moment", [=, &device] { encode_moment(device, false, kBlock, v, coded_v); });
  memory("decode_moment", [=, &device] { decode_moment(device, false, kBlock, coded_v, v); });
  for (const int bits : {8, 4}) {
    const CodedMoment basis = coded(basis_code_bytes(bits, m.size()), basis_blocks(bits, m.size()));
    const std::string type = bits == 8 ? "int8" : "int4";
    memory("encode_basis_" + type, [=, &device] { encode_basis(device, bits, m, basis.codes, basis.scales); });
    memory("decode_basis_" + type, [=, &device] { decode_basis(device, bits, basis.codes, basis.scales, m); });
  }

  WeightUpdate how;
  how.step = 1e-3F;
  how.noise = 7;
  const Tensor low = numbers(rows, kStateColumns, kBf16);
  memory("apply_dense_bf16", [=, &device] { apply_dense(device, low, {}, r, how); });
  memory("apply_dense_bf16_master", [=, &device] { apply_dense(device, low, m, r, how); });
  memory("apply_dense_fp32", [=, &device] { apply_dense(device, m, {}, r, how); });
}

void Operations::add_reductions() {
  Device& device = device_;
  const Tensor all = numbers(sizes_.summed_rows, kStateColumns, kFp32);
  memory("sum", [=, &device] { sum(device, all); });
  memory("sum_of_squares", [=, &device] { sum_of_squares(device, all); });
  memory("all_finite", [=, &device] { all_finite(device, all); });
  memory("hash_bytes", [=, &device] { hash_bytes(device, all); });
}

// Of one block in bf16: forward, its two backwards, and the thin ones of GaLore; attention with the FLOPs of what a
// query sees.
void Operations::add_products() {
  Device& device = device_;
  const int64_t tokens = sizes_.tokens();
  const Tensor x = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor out = numbers(tokens, sizes_.mlp, kBf16);
  const Tensor w = numbers(sizes_.mlp, sizes_.hidden, kBf16);
  const Tensor gradient = numbers(sizes_.mlp, sizes_.hidden, kFp32);
  const Tensor basis = numbers(sizes_.hidden, sizes_.rank, kBf16);
  const Tensor projected = numbers(tokens, sizes_.rank, kBf16);
  const Tensor compact = numbers(sizes_.mlp, sizes_.rank, kFp32);
  const Tensor update = numbers(sizes_.mlp, sizes_.rank, kBf16);
  WeightUpdate how;
  how.step = 1e-6F;
  how.noise = 7;
  product("forward", [=, &device] { matmul(device, x, Transpose::kNo, w, Transpose::kYes, out); });
  product("to_input", [=, &device] { matmul(device, out, Transpose::kNo, w, Transpose::kNo, x, 1e-3F); });
  product("to_weight", [=, &device] { matmul(device, out, Transpose::kYes, x, Transpose::kNo, gradient); });
  product("project", [=, &device] { matmul(device, x, Transpose::kNo, basis, Transpose::kNo, projected); });
  product("to_compact", [=, &device] { matmul(device, out, Transpose::kYes, projected, Transpose::kNo, compact); });
  product("apply_projected", [=, &device] { apply_projected(device, w, {}, update, basis, how); });

  const int64_t heads = sizes_.hidden / sizes_.head;
  const AttentionShape shape{sizes_.sequences, sizes_.sequence, heads, heads, sizes_.head, true, 0};
  const Tensor q = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor k = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor v = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor seen = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor logs = numbers(sizes_.sequences * heads, sizes_.sequence, kFp32);
  product("attention", [=, &device] { attention(device, shape, q, k, v, seen, logs); });
  const Tensor dseen = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor dq = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor dk = numbers(tokens, sizes_.hidden, kBf16);
  const Tensor dv = numbers(tokens, sizes_.hidden, kBf16);
  product("attention_backward",
          [=, &device] { attention_backward(device, shape, q, k, v, seen, logs, dseen, dq, dk, dv); });
}

void Operations::add_decompositions() {
  Device& device = device_;
  const Tensor tall = numbers(sizes_.mlp, sizes_.rank, kFp32);
  all_.push_back({"orthonormalize_mlp", Bound::kSeconds, [=, &device] {
                    fill_normal(device, tall, 3, 1, 0, 0.0F, 1.0F);
                    GALLEON_CHECK(orthonormalize(device, tall, 1));
                  }});
  const Tensor square = numbers(sizes_.hidden, sizes_.hidden, kFp32);
  const Tensor vectors = numbers(sizes_.hidden, sizes_.rank, kFp32);
  all_.push_back({"singular_vectors_hidden", Bound::kSeconds, [=, &device] {
                    fill_normal(device, square, 4, 1, 0, 0.0F, 1.0F);
                    GALLEON_CHECK(right_singular_vectors(device, square, vectors));
                  }});
}

}  // namespace galleon::gpu

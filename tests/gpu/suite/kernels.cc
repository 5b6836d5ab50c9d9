// Operations one by one: bytes a second of those bound by memory beside a copy's, and products of a model's layers
// beside the best product.
#include <functional>

#include "kernels/cuda/devices.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/quantize.h"
#include "kernels/ops/random.h"
#include "kernels/ops/reduction.h"
#include "kernels/ops/weight_update.h"
#include "tests/gpu/suite/ceilings.h"
#include "tests/gpu/suite/parts.h"

namespace galleon::gpu {

namespace {

constexpr double kOfCopy = 0.8;

class Bench {
 public:
  Bench(Report& report, Device& device, double copy_rate, double product_rate)
      : report_(report), device_(device), copy_rate_(copy_rate), product_rate_(product_rate) {}

  void bound_by_memory(const char* name, const std::function<void()>& call) {
    device_.work() = {};
    call();
    const double bytes = device_.work().bytes;
    const double rate = bytes / seconds_of(device_, 20, call);
    report_.at_least(std::string("kernel.") + name, rate / copy_rate_, "of a copy", kOfCopy);
  }
  void product(const std::string& name, const std::function<void()>& call) {
    device_.work() = {};
    call();
    const double flops = device_.work().flops;
    report_.figure("product." + name, flops / seconds_of(device_, 20, call) / product_rate_, "of the best product");
  }
  void seconds(const std::string& name, int repeats, const std::function<void()>& call) {
    report_.figure(name, seconds_of(device_, repeats, call), "s");
  }

 private:
  Report& report_;
  Device& device_;
  double copy_rate_;
  double product_rate_;
};

}  // namespace

int kernels(Report& report) {
  absl::StatusOr<std::unique_ptr<Device>> opened = make_cuda_device(0);
  GALLEON_CHECK(opened.ok()) << opened.status().ToString();
  Device& device = **opened;
  const double copy_rate = copy_bytes_per_second(device);
  const double product_rate = bf16_flops_per_second(device);
  report.figure("ceiling.copy", copy_rate / 1e9, "GB/s");
  report.figure("ceiling.bf16_product", product_rate / 1e12, "TFLOP/s");
  Bench bench(report, device, copy_rate, product_rate);

  // Activations of llama-1b at 16 × 1,024 tokens; optimizer states of one of its compact matrices, many times over.
  constexpr int64_t kTokens = 16 * 1024;
  constexpr int64_t kHidden = 2048;
  constexpr int64_t kMlp = 5504;
  Arena arena(device);
  const auto bf16 = [&](int64_t rows, int64_t columns) {
    const Tensor t = arena.tensor("bf16", MemoryCategory::kActivations, rows, columns, DataType::kBFloat16);
    GALLEON_CHECK(arena.status().ok()) << arena.status().ToString();
    fill(device, t, 0.25F);
    return t;
  };
  const auto fp32 = [&](int64_t rows, int64_t columns) {
    const Tensor t = arena.tensor("fp32", MemoryCategory::kActivations, rows, columns);
    GALLEON_CHECK(arena.status().ok()) << arena.status().ToString();
    fill_normal(device, t, 1, 1, 0, 0.0F, 1.0F);
    return t;
  };
  const Tensor x = bf16(kTokens, kHidden);
  const Tensor y = bf16(kTokens, kHidden);
  const Tensor delta = bf16(kTokens, kHidden);
  const Tensor weight = bf16(kHidden, 1);
  const Tensor dweight = fp32(kHidden, 1);
  const Tensor statistics = fp32(kTokens, 1);
  const Tensor gate = bf16(kTokens, kMlp);
  const Tensor up = bf16(kTokens, kMlp);
  const Tensor out = bf16(kTokens, kMlp);
  bench.bound_by_memory("rms_norm", [&] { rms_norm(device, x, weight, 1e-5F, y, statistics); });
  bench.bound_by_memory("add_rms_norm", [&] { add_rms_norm(device, x, delta, weight, 1e-5F, y, statistics); });
  bench.bound_by_memory("rms_norm_backward",
                        [&] { rms_norm_backward(device, x, weight, statistics, delta, y, dweight); });
  bench.bound_by_memory("swiglu", [&] { swiglu(device, gate, up, out); });
  bench.bound_by_memory("swiglu_backward", [&] { swiglu_backward(device, gate, up, out, gate, up); });
  bench.bound_by_memory("gelu", [&] { gelu(device, gate, true, out); });
  bench.bound_by_memory("add", [&] { add(device, x, y); });
  bench.bound_by_memory("transpose", [&] { transpose(device, gate, out.reshape(kMlp, kTokens)); });

  constexpr int64_t kRows = 65536;
  constexpr int64_t kRank = 1024;
  const Tensor r = fp32(kRows, kRank);
  const Tensor m = fp32(kRows, kRank);
  const Tensor v = fp32(kRows, kRank);
  fill(device, v, 1.0F);
  bench.bound_by_memory("adam_update", [&] { adam_update(device, AdamRule(), r, m, v); });
  bench.bound_by_memory("momentum_update", [&] { momentum_update(device, 0.9F, 1.0F, r, m); });
  constexpr int64_t kBlock = 256;
  const auto coded = [&] {
    return CodedMoment{arena.tensor("codes", MemoryCategory::kActivations, kRows, kRank, DataType::kUint8),
                       fp32(kRows * kRank / kBlock, 1)};
  };
  const CodedMoment coded_m = coded();
  const CodedMoment coded_v = coded();
  bench.bound_by_memory("adam8bit_update", [&] { adam8bit_update(device, AdamRule(), kBlock, r, coded_m, coded_v); });
  bench.bound_by_memory("sum_of_squares", [&] { sum_of_squares(device, r); });
  bench.bound_by_memory("all_finite", [&] { all_finite(device, r); });
  const Tensor dense = bf16(kRows, kRank);
  WeightUpdate how;
  how.step = 1e-3F;
  how.noise = 7;
  bench.bound_by_memory("apply_dense_bf16", [&] { apply_dense(device, dense, {}, r, how); });
  const Tensor logits = fp32(2048, 32000);
  const Tensor losses = fp32(2048, 1);
  const Tensor targets = arena.tensor("targets", MemoryCategory::kActivations, 2048, 1, DataType::kInt32);
  bench.bound_by_memory("cross_entropy", [&] {
    cross_entropy(device, logits, targets, 1e-5F, losses, gradient_over(logits, DataType::kBFloat16));
  });

  // Products of one llama-1b block in bf16: forward, its two backwards, and the thin ones of GaLore.
  const Tensor w = bf16(kMlp, kHidden);
  bench.product("forward", [&] { matmul(device, x, Transpose::kNo, w, Transpose::kYes, gate); });
  bench.product("to_input", [&] { matmul(device, gate, Transpose::kNo, w, Transpose::kNo, x); });
  const Tensor dense_gradient = fp32(kMlp, kHidden);
  bench.product("to_weight", [&] { matmul(device, gate, Transpose::kYes, x, Transpose::kNo, dense_gradient); });
  const Tensor basis = bf16(kHidden, 512);
  const Tensor projected = bf16(kTokens, 512);
  const Tensor compact = fp32(kMlp, 512);
  bench.product("project", [&] { matmul(device, x, Transpose::kNo, basis, Transpose::kNo, projected); });
  bench.product("to_compact", [&] { matmul(device, gate, Transpose::kYes, projected, Transpose::kNo, compact); });

  // Attention of llama-1b, causal: FLOPs of what a query sees.
  const AttentionShape shape{16, 1024, 32, 32, 64, true, 0};
  const Tensor k = bf16(kTokens, kHidden);
  const Tensor values = bf16(kTokens, kHidden);
  const Tensor logs = fp32(16 * 32, 1024);
  bench.product("attention", [&] { attention(device, shape, x, k, values, y, logs); });
  const Tensor dq = bf16(kTokens, kHidden);
  const Tensor dk = bf16(kTokens, kHidden);
  const Tensor dv = bf16(kTokens, kHidden);
  bench.product("attention_backward",
                [&] { attention_backward(device, shape, x, k, values, y, logs, delta, dq, dk, dv); });

  // Decompositions of llama-1b's matrices.
  const Tensor tall = fp32(kMlp, 512);
  bench.seconds("orthonormalize_5504x512", 3, [&] {
    fill_normal(device, tall, 3, 1, 0, 0.0F, 1.0F);
    GALLEON_CHECK(orthonormalize(device, tall, 1));
  });
  const Tensor square = fp32(kHidden, kHidden);
  const Tensor vectors = fp32(kHidden, 512);
  bench.seconds("singular_vectors_2048x2048", 1, [&] {
    fill_normal(device, square, 4, 1, 0, 0.0F, 1.0F);
    GALLEON_CHECK(right_singular_vectors(device, square, vectors));
  });
  return report.exit_code();
}

}  // namespace galleon::gpu

// Everything that is not a large product: attention, loss, norms, activations, optimizer, bases.
#include <utility>
#include <vector>

#include "kernels/ops/activation.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/random.h"
#include "kernels/ops/reduction.h"
#include "kernels/ops/weight_update.h"
#include "tests/bench/kernels/operands.h"

namespace galleon {
namespace {

constexpr int64_t kTokens = 4096;
constexpr int64_t kHidden = 512;

struct AttentionOperands {
  AttentionOperands(Bench& bench, const AttentionShape& s)
      : q(bench.normal(s.tokens(), s.heads * s.head_dimension)),
        k(bench.normal(s.tokens(), s.key_value_heads * s.head_dimension)),
        v(bench.normal(s.tokens(), s.key_value_heads * s.head_dimension)),
        out(bench.normal(s.tokens(), s.heads * s.head_dimension)),
        logs(bench.normal(s.batch * s.heads, s.sequence)) {}
  Tensor q, k, v, out, logs;
};

AttentionShape attention_shape(const benchmark::State& state) {
  return {kTokens / state.range(0), state.range(0), 8, 8, 64};
}

void attention_forward(benchmark::State& state) {
  Bench bench;
  const AttentionShape shape = attention_shape(state);
  const AttentionOperands t(bench, shape);
  bench.run(state, [&] { attention(*bench.device, shape, t.q, t.k, t.v, t.out, t.logs); });
}
BENCHMARK(attention_forward)->Arg(256)->Arg(1024)->UseRealTime()->Unit(benchmark::kMillisecond);

void attention_gradients(benchmark::State& state) {
  Bench bench;
  const AttentionShape shape = attention_shape(state);
  const AttentionOperands t(bench, shape);
  const AttentionOperands d(bench, shape);
  attention(*bench.device, shape, t.q, t.k, t.v, t.out, t.logs);
  bench.run(state,
            [&] { attention_backward(*bench.device, shape, t.q, t.k, t.v, t.out, t.logs, d.out, d.q, d.k, d.v); });
}
BENCHMARK(attention_gradients)->Arg(256)->Arg(1024)->UseRealTime()->Unit(benchmark::kMillisecond);

void rotary_rotation(benchmark::State& state) {
  Bench bench;
  const Tensor x = bench.normal(kTokens, kHidden);
  const Tensor table = bench.normal(256, 64);
  rotary_table(*bench.device, table, std::vector<double>(32, 0.1));
  bench.run(state, [&] { rotary(*bench.device, x, table, 256, 64, false); });
}
BENCHMARK(rotary_rotation)->UseRealTime()->Unit(benchmark::kMillisecond);

void loss_and_gradient(benchmark::State& state) {
  Bench bench;
  const Tensor logits = bench.normal(512, 32000);
  const Tensor targets = bench.ids(512, 32000);
  const Tensor losses = bench.normal(512, 1);
  bench.run(state, [&] { cross_entropy(*bench.device, logits, targets, 1.0F, losses, logits); });
}
BENCHMARK(loss_and_gradient)->UseRealTime()->Unit(benchmark::kMillisecond);

void loss_alone(benchmark::State& state) {
  Bench bench;
  const Tensor logits = bench.normal(512, 32000);
  const Tensor targets = bench.ids(512, 32000);
  const Tensor losses = bench.normal(512, 1);
  bench.run(state, [&] { cross_entropy_forward(*bench.device, logits, targets, losses); });
}
BENCHMARK(loss_alone)->UseRealTime()->Unit(benchmark::kMillisecond);

void norm_forward(benchmark::State& state) {
  Bench bench;
  const Tensor x = bench.normal(kTokens, kHidden);
  const Tensor delta = bench.normal(kTokens, kHidden, 1e-3F);
  const Tensor y = bench.normal(kTokens, kHidden);
  const Tensor w = bench.normal(kHidden, 1);
  const Tensor s = bench.normal(kTokens, 1);
  bench.run(state, [&] { add_rms_norm(*bench.device, x, delta, w, 1e-5F, y, s); });
}
BENCHMARK(norm_forward)->UseRealTime()->Unit(benchmark::kMillisecond);

void norm_backward(benchmark::State& state) {
  Bench bench;
  const Tensor x = bench.normal(kTokens, kHidden);
  const Tensor dy = bench.normal(kTokens, kHidden, 1e-3F);
  const Tensor dx = bench.normal(kTokens, kHidden);
  const Tensor w = bench.normal(kHidden, 1);
  const Tensor dw = bench.normal(kHidden, 1);
  const Tensor s = bench.normal(kTokens, 1);
  fill(*bench.device, s, 1.0F);
  bench.run(state, [&] { rms_norm_backward(*bench.device, x, w, s, dy, dx, dw); });
}
BENCHMARK(norm_backward)->UseRealTime()->Unit(benchmark::kMillisecond);

void swiglu_forward(benchmark::State& state) {
  Bench bench;
  const Tensor gate = bench.normal(kTokens, 1376);
  const Tensor up = bench.normal(kTokens, 1376);
  const Tensor out = bench.normal(kTokens, 1376);
  bench.run(state, [&] { swiglu(*bench.device, gate, up, out); });
}
BENCHMARK(swiglu_forward)->UseRealTime()->Unit(benchmark::kMillisecond);

void swiglu_gradients(benchmark::State& state) {
  Bench bench;
  const Tensor gate = bench.normal(kTokens, 1376);
  const Tensor up = bench.normal(kTokens, 1376);
  const Tensor dout = bench.normal(kTokens, 1376);
  const Tensor dgate = bench.normal(kTokens, 1376);
  const Tensor dup = bench.normal(kTokens, 1376);
  bench.run(state, [&] { swiglu_backward(*bench.device, gate, up, dout, dgate, dup); });
}
BENCHMARK(swiglu_gradients)->UseRealTime()->Unit(benchmark::kMillisecond);

void embedding_gradient(benchmark::State& state) {
  Bench bench;
  const Tensor table = bench.normal(32000, kHidden);
  const Tensor dx = bench.normal(kTokens, kHidden);
  const Tensor ids = bench.ids(kTokens, 32000);
  bench.run(state, [&] { embedding_backward(*bench.device, ids, dx, table); });
}
BENCHMARK(embedding_gradient)->UseRealTime()->Unit(benchmark::kMillisecond);

void transposition(benchmark::State& state) {
  Bench bench;
  const Tensor x = bench.normal(kTokens, 1376);
  const Tensor y = bench.normal(1376, kTokens);
  bench.run(state, [&] { transpose(*bench.device, x, y); });
}
BENCHMARK(transposition)->UseRealTime()->Unit(benchmark::kMillisecond);

void adam(benchmark::State& state) {
  Bench bench;
  const Tensor r = bench.normal(32000, kHidden);
  const Tensor m = bench.normal(32000, kHidden);
  const Tensor v = bench.normal(32000, kHidden);
  fill(*bench.device, v, 1.0F);
  bench.run(state, [&] { adam_update(*bench.device, AdamRule(), r, m, v); });
}
BENCHMARK(adam)->UseRealTime()->Unit(benchmark::kMillisecond);

// Eight layers' matrices of 1376×512, so that they do not stay in the cache between steps.
void projected_weight_update(benchmark::State& state) {
  Bench bench;
  const Tensor w = bench.normal(8 * 3 * 1376, kHidden);
  const Tensor u = bench.normal(8 * 3 * 1376, 128);
  const Tensor p = bench.normal(kHidden, 128);
  const float keep = state.range(0) == 1 ? 1.0F : 0.9999F;
  bench.run(state, [&] {
    for (int64_t i = 0; i < 24; ++i) {
      apply_projected(*bench.device, w.row_range(i * 1376, 1376), {}, u.row_range(i * 1376, 1376), p,
                      {.step = 1e-6F, .keep = keep});
    }
  });
}
BENCHMARK(projected_weight_update)
    ->ArgName("without_decay")
    ->Arg(1)
    ->Arg(0)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void dense_weight_update(benchmark::State& state) {
  Bench bench;
  const Tensor w = bench.normal(32000, kHidden);
  const Tensor u = bench.normal(32000, kHidden);
  bench.run(state, [&] { apply_dense(*bench.device, w, {}, u, {.step = 1e-6F, .keep = 0.9999F}); });
}
BENCHMARK(dense_weight_update)->UseRealTime()->Unit(benchmark::kMillisecond);

void squares(benchmark::State& state) {
  Bench bench;
  const Tensor x = bench.normal(32000, kHidden);
  bench.run(state, [&] { benchmark::DoNotOptimize(sum_of_squares(*bench.device, x)); });
}
BENCHMARK(squares)->UseRealTime()->Unit(benchmark::kMillisecond);

void hash(benchmark::State& state) {
  Bench bench;
  const Tensor x = bench.normal(32000, kHidden);
  bench.run(state, [&] { benchmark::DoNotOptimize(hash_bytes(*bench.device, x)); });
}
BENCHMARK(hash)->UseRealTime()->Unit(benchmark::kMillisecond);

void normal_numbers(benchmark::State& state) {
  Bench bench;
  const Tensor x = bench.normal(32000, kHidden);
  bench.run(state, [&] { fill_normal(*bench.device, x, 1, 1, 0, 0.0F, 1.0F); });
}
BENCHMARK(normal_numbers)->UseRealTime()->Unit(benchmark::kMillisecond);

void refresh_shapes(benchmark::internal::Benchmark* b) {
  for (const auto& [rows, columns] : {std::pair{512, 512}, {1376, 512}, {512, 1376}}) b->Args({rows, columns, 128});
  b->UseRealTime()->Unit(benchmark::kMillisecond);
}

// An exact refresh, with the copy of the gradient that it destroys.
void exact_basis(benchmark::State& state) {
  Bench bench;
  const Tensor g = bench.normal(state.range(0), state.range(1));
  const Tensor destroyed = bench.normal(state.range(0), state.range(1));
  const Tensor basis = bench.normal(state.range(1), state.range(2));
  bench.run(state, [&] {
    copy(*bench.device, g, destroyed);
    GALLEON_CHECK(right_singular_vectors(*bench.device, destroyed, basis)) << "did not converge";
  });
}
BENCHMARK(exact_basis)->Apply(refresh_shapes);

// A warm subspace iteration: Y = orth(G·P), P = orth(Gᵀ·Y).
void subspace_iteration(benchmark::State& state) {
  Bench bench;
  const Tensor g = bench.normal(state.range(0), state.range(1));
  const Tensor y = bench.normal(state.range(0), state.range(2));
  const Tensor basis = bench.normal(state.range(1), state.range(2));
  bench.run(state, [&] {
    matmul(*bench.device, g, Transpose::kNo, basis, Transpose::kNo, y);
    GALLEON_CHECK(orthonormalize(*bench.device, y, 1)) << "not finite";
    matmul(*bench.device, g, Transpose::kYes, y, Transpose::kNo, basis);
    GALLEON_CHECK(orthonormalize(*bench.device, basis, 1)) << "not finite";
  });
}
BENCHMARK(subspace_iteration)->Apply(refresh_shapes);

void orthonormal_basis(benchmark::State& state) {
  Bench bench;
  const Tensor g = bench.normal(state.range(0), state.range(1));
  const Tensor y = bench.normal(state.range(0), state.range(1));
  bench.run(state, [&] {
    copy(*bench.device, g, y);
    GALLEON_CHECK(orthonormalize(*bench.device, y, 1)) << "not finite";
  });
}
BENCHMARK(orthonormal_basis)
    ->Args({512, 128})
    ->Args({1376, 128})
    ->Args({4096, 128})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace galleon

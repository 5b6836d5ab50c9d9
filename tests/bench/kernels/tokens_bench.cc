// Operations over tokens in bf16, each beside what bounds it in the same run: attention beside a large product,
// embedding, loss and rotation beside a copy.
#include <algorithm>
#include <vector>

#include "kernels/ops/activation.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/loss.h"
#include "tests/bench/kernels/operands.h"

namespace galleon {
namespace {

constexpr DataType kBf16 = DataType::kBFloat16;
constexpr int64_t kHeadDimension = 128;
constexpr int64_t kVocabulary = 32000;

// Enough to fill the device, and no more than a core finishes in a second.
int64_t tokens_for(const Bench& bench) {
  return bench.device->kind() == "cpu" ? 1024 : 16384;
}

int64_t hidden_for(const Bench& bench) {
  return bench.device->kind() == "cpu" ? 512 : 4096;
}

Tensor rounded(Bench& bench, int64_t rows, int64_t columns) {
  const Tensor from = bench.normal(rows, columns);
  const Tensor to = bench.arena.tensor("rounded", MemoryCategory::kActivations, rows, columns, kBf16);
  GALLEON_CHECK(bench.arena.status().ok()) << bench.arena.status().ToString();
  convert(*bench.device, from, to);
  return to;
}

void large_product(benchmark::State& state) {
  Bench bench;
  const int64_t n = bench.device->kind() == "cpu" ? 1024 : 8192;
  const Tensor a = rounded(bench, n, n);
  const Tensor b = rounded(bench, n, n);
  const Tensor c = rounded(bench, n, n);
  bench.run(state, [&] { matmul(*bench.device, a, Transpose::kNo, b, Transpose::kYes, c); });
}
BENCHMARK(large_product)->UseRealTime()->Unit(benchmark::kMillisecond);

struct AttentionOperands {
  AttentionOperands(Bench& bench, const AttentionShape& s)
      : q(rounded(bench, s.tokens(), s.heads * s.head_dimension)),
        k(rounded(bench, s.tokens(), s.key_value_heads * s.head_dimension)),
        v(rounded(bench, s.tokens(), s.key_value_heads * s.head_dimension)),
        out(rounded(bench, s.tokens(), s.heads * s.head_dimension)),
        logs(bench.normal(s.batch * s.heads, s.sequence)) {}
  Tensor q, k, v, out, logs;
};

// Positions, dimension of a head, query heads to a key-value head, causal.
AttentionShape attention_shape(const Bench& bench, const benchmark::State& state) {
  AttentionShape s;
  s.sequence = state.range(0);
  s.batch = std::max<int64_t>(tokens_for(bench) / s.sequence, 1);
  s.head_dimension = state.range(1);
  s.heads = bench.device->kind() == "cpu" ? 4 : 16;
  s.key_value_heads = s.heads / state.range(2);
  s.causal = state.range(3) == 1;
  return s;
}

void attention_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"positions", "dimension", "group", "causal"});
  for (const int64_t positions : {1024, 2048, 4096}) b->Args({positions, kHeadDimension, 1, 1});
  b->Args({4096, kHeadDimension, 1, 0})->Args({2048, kHeadDimension, 4, 1})->Args({2048, 64, 1, 1});
  b->UseRealTime()->Unit(benchmark::kMillisecond);
}

void attention_of_tokens(benchmark::State& state) {
  Bench bench;
  const AttentionShape shape = attention_shape(bench, state);
  const AttentionOperands t(bench, shape);
  bench.run(state, [&] { attention(*bench.device, shape, t.q, t.k, t.v, t.out, t.logs); });
}
BENCHMARK(attention_of_tokens)->Apply(attention_shapes);

void attention_of_tokens_backward(benchmark::State& state) {
  Bench bench;
  const AttentionShape shape = attention_shape(bench, state);
  const AttentionOperands t(bench, shape);
  const AttentionOperands d(bench, shape);
  attention(*bench.device, shape, t.q, t.k, t.v, t.out, t.logs);
  bench.run(state,
            [&] { attention_backward(*bench.device, shape, t.q, t.k, t.v, t.out, t.logs, d.out, d.q, d.k, d.v); });
}
BENCHMARK(attention_of_tokens_backward)->Apply(attention_shapes);

void copy_of_tokens(benchmark::State& state) {
  Bench bench;
  const Tensor x = rounded(bench, tokens_for(bench), hidden_for(bench));
  const Tensor y = rounded(bench, tokens_for(bench), hidden_for(bench));
  bench.run(state, [&] { copy(*bench.device, x, y); });
}
BENCHMARK(copy_of_tokens)->UseRealTime()->Unit(benchmark::kMillisecond);

void embedding_of_tokens(benchmark::State& state) {
  Bench bench;
  const Tensor table = rounded(bench, kVocabulary, hidden_for(bench));
  const Tensor x = rounded(bench, tokens_for(bench), hidden_for(bench));
  const Tensor ids = bench.ids(tokens_for(bench), kVocabulary);
  bench.run(state, [&] { embedding(*bench.device, ids, table, x); });
}
BENCHMARK(embedding_of_tokens)->UseRealTime()->Unit(benchmark::kMillisecond);

void embedding_of_tokens_backward(benchmark::State& state) {
  Bench bench;
  const Tensor dtable = bench.normal(kVocabulary, hidden_for(bench));
  const Tensor dx = rounded(bench, tokens_for(bench), hidden_for(bench));
  const Tensor ids = bench.ids(tokens_for(bench), state.range(0));
  bench.run(state, [&] { embedding_backward(*bench.device, ids, dx, dtable); });
}
// Few different ids: long sums, each in one order.
BENCHMARK(embedding_of_tokens_backward)
    ->ArgName("different")
    ->Arg(kVocabulary)
    ->Arg(16)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void loss_of_tokens(benchmark::State& state) {
  Bench bench;
  const int64_t rows = tokens_for(bench) / 4;
  const Tensor logits = bench.normal(rows, state.range(0));
  const Tensor losses = bench.normal(rows, 1);
  const Tensor targets = bench.ids(rows, state.range(0));
  const Tensor gradient = gradient_over(logits, kBf16);
  bench.run(state, [&] { cross_entropy(*bench.device, logits, targets, 1.0F, losses, gradient); });
}
BENCHMARK(loss_of_tokens)
    ->ArgName("vocabulary")
    ->Arg(kVocabulary)
    ->Arg(128256)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void rotation_of_tokens(benchmark::State& state) {
  Bench bench;
  const Tensor x = rounded(bench, tokens_for(bench), hidden_for(bench));
  const Tensor table = bench.normal(1024, kHeadDimension);
  rotary_table(*bench.device, table, std::vector<double>(kHeadDimension / 2, 0.1));
  bench.run(state, [&] { rotary(*bench.device, x, table, 1024, kHeadDimension, false); });
}
BENCHMARK(rotation_of_tokens)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace galleon

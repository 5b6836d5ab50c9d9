// Products at the shapes of llama-60m with 4,096 tokens, beside the best rate that OpenBLAS reaches on the same
// machine.
#include <cblas.h>

#include "kernels/ops/linear.h"
#include "tests/bench/kernels/operands.h"

namespace galleon {
namespace {

constexpr int64_t kTokens = 4096;

void openblas_square(benchmark::State& state) {
  Bench bench;
  const int64_t n = state.range(0);
  const Tensor a = bench.normal(n, n);
  const Tensor b = bench.normal(n, n);
  const Tensor c = bench.normal(n, n);
  const int size = static_cast<int>(n);
  for (auto _ : state) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, size, size, size, 1.0F, a.f32(), size, b.f32(), size, 0.0F,
                c.f32(), size);
  }
  const double flops = 2.0 * static_cast<double>(n * n * n) * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsRate);
}
BENCHMARK(openblas_square)->Arg(1024)->Arg(2048)->UseRealTime()->Unit(benchmark::kMillisecond);

// Y = X·Wᵀ, dX = dY·W, dW = dYᵀ·X for a layer of `in` inputs and `out` outputs.
void layer_forward(benchmark::State& state) {
  Bench bench;
  const Tensor x = bench.normal(kTokens, state.range(0));
  const Tensor w = bench.normal(state.range(1), state.range(0));
  const Tensor y = bench.normal(kTokens, state.range(1));
  bench.run(state, [&] { matmul(*bench.device, x, Transpose::kNo, w, Transpose::kYes, y); });
}
void layer_input_gradient(benchmark::State& state) {
  Bench bench;
  const Tensor dx = bench.normal(kTokens, state.range(0));
  const Tensor w = bench.normal(state.range(1), state.range(0));
  const Tensor dy = bench.normal(kTokens, state.range(1));
  bench.run(state, [&] { matmul(*bench.device, dy, Transpose::kNo, w, Transpose::kNo, dx); });
}
void layer_dense_gradient(benchmark::State& state) {
  Bench bench;
  const Tensor x = bench.normal(kTokens, state.range(0));
  const Tensor dw = bench.normal(state.range(1), state.range(0));
  const Tensor dy = bench.normal(kTokens, state.range(1));
  bench.run(state, [&] { matmul(*bench.device, dy, Transpose::kYes, x, Transpose::kNo, dw, 1.0F, 1.0F); });
}
// R = dYᵀ·(X·P): what a projected layer does in place of dW = dYᵀ·X.
void layer_factors(benchmark::State& state) {
  Bench bench;
  const int64_t rank = state.range(2);
  const Tensor x = bench.normal(kTokens, state.range(0));
  const Tensor p = bench.normal(state.range(0), rank);
  const Tensor xp = bench.normal(kTokens, rank);
  const Tensor r = bench.normal(state.range(1), rank);
  const Tensor dy = bench.normal(kTokens, state.range(1));
  bench.run(state, [&] {
    matmul(*bench.device, x, Transpose::kNo, p, Transpose::kNo, xp);
    matmul(*bench.device, dy, Transpose::kYes, xp, Transpose::kNo, r, 1.0F, 1.0F);
  });
}
void layer_shapes(benchmark::internal::Benchmark* b) {
  for (const auto& [in, out] : {std::pair{512, 512}, {512, 1376}, {1376, 512}, {512, 32000}}) b->Args({in, out});
  b->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK(layer_forward)->Apply(layer_shapes);
BENCHMARK(layer_input_gradient)->Apply(layer_shapes);
BENCHMARK(layer_dense_gradient)->Apply(layer_shapes);
BENCHMARK(layer_factors)
    ->Args({512, 512, 128})
    ->Args({512, 1376, 128})
    ->Args({512, 1536, 128})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// Aᵀ·B over k tokens into rows×r: the thin product alone.
void thin_product(benchmark::State& state) {
  Bench bench;
  const Tensor a = bench.normal(kTokens, state.range(0));
  const Tensor b = bench.normal(kTokens, state.range(1));
  const Tensor c = bench.normal(state.range(0), state.range(1));
  bench.run(state, [&] { matmul(*bench.device, a, Transpose::kYes, b, Transpose::kNo, c); });
}
BENCHMARK(thin_product)
    ->Args({512, 128})
    ->Args({1376, 128})
    ->Args({512, 32})
    ->Args({1376, 32})
    ->Args({128, 1376})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace galleon

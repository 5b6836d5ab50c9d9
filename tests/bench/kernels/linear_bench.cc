// Products at the shapes of llama-60m with 4,096 tokens, beside the best rate that OpenBLAS reaches on the same
// machine.
#include <cblas.h>
#include <dnnl.h>
#include <omp.h>

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

// fp32 products of both libraries, called as they are, on one thread: what the device's choice between them rests on.
struct LibraryShape {
  const char* name;
  bool transpose_a, transpose_b;
  int64_t m, n, k;
};
constexpr LibraryShape kLibraryShapes[] = {
    {"query forward", false, true, 4096, 512, 512},     {"up forward", false, true, 4096, 1376, 512},
    {"head forward", false, true, 384, 32000, 512},     {"query backward", false, false, 4096, 512, 512},
    {"up backward", false, false, 4096, 512, 1376},     {"head backward", false, false, 384, 512, 32000},
    {"up gradient", true, false, 1376, 512, 4096},      {"X by basis", false, false, 4096, 128, 512},
    {"compact gradient", true, false, 1376, 128, 4096}, {"back-projection", false, true, 1376, 512, 128},
    {"attention tile", false, true, 64, 64, 64},
};

template <typename Product>
void library_product(benchmark::State& state, Product product) {
  const LibraryShape& s = kLibraryShapes[state.range(0)];
  Bench bench;
  const Tensor a = bench.normal(s.m, s.k);
  const Tensor b = bench.normal(s.k, s.n);
  const Tensor c = bench.normal(s.m, s.n);
  omp_set_num_threads(1);
  for (auto _ : state) product(s, a.f32(), b.f32(), c.f32());
  state.SetLabel(s.name);
  const double flops = 2.0 * static_cast<double>(s.m * s.n * s.k) * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsRate);
}
void library_product_openblas(benchmark::State& state) {
  library_product(state, [](const LibraryShape& s, const float* a, const float* b, float* c) {
    cblas_sgemm(CblasRowMajor, s.transpose_a ? CblasTrans : CblasNoTrans, s.transpose_b ? CblasTrans : CblasNoTrans,
                static_cast<blasint>(s.m), static_cast<blasint>(s.n), static_cast<blasint>(s.k), 1.0F, a,
                static_cast<blasint>(s.transpose_a ? s.m : s.k), b, static_cast<blasint>(s.transpose_b ? s.k : s.n),
                0.0F, c, static_cast<blasint>(s.n));
  });
}
void library_product_onednn(benchmark::State& state) {
  library_product(state, [](const LibraryShape& s, const float* a, const float* b, float* c) {
    dnnl_sgemm(s.transpose_a ? 'T' : 'N', s.transpose_b ? 'T' : 'N', s.m, s.n, s.k, 1.0F, a, s.transpose_a ? s.m : s.k,
               b, s.transpose_b ? s.k : s.n, 0.0F, c, s.n);
  });
}
BENCHMARK(library_product_openblas)->DenseRange(0, 10)->Unit(benchmark::kMillisecond);
BENCHMARK(library_product_onednn)->DenseRange(0, 10)->Unit(benchmark::kMillisecond);

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

// What a model does with several operations together: a refresh of a subspace, and a step of many matrices. Operations
// alone are in cases_bench.cc.
#include <utility>

#include "kernels/ops/activation.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/weight_update.h"
#include "tests/bench/kernels/operands.h"

namespace galleon {
namespace {

constexpr int64_t kHidden = 512;

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

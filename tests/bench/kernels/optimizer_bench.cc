// Moment rules beside AdamW's in fp32, and the codes of bases.
#include "kernels/ops/optimizer.h"

#include "kernels/ops/quantize.h"
#include "tests/bench/kernels/operands.h"

namespace galleon {
namespace {

constexpr int64_t kRows = 32000;
constexpr int64_t kColumns = 512;

CodedMoment coded(Bench& bench, bool is_signed, int64_t block) {
  const Tensor x = bench.normal(kRows, kColumns, 1e-3F);
  if (!is_signed) square(*bench.device, x, x);
  const CodedMoment moment{
      bench.arena.tensor("codes", MemoryCategory::kOptimizerStates, kRows, kColumns, DataType::kUint8),
      bench.arena.tensor("scales", MemoryCategory::kOptimizerStates, x.size() / block, 1)};
  encode_moment(*bench.device, is_signed, block, x, moment);
  return moment;
}

void adam8bit(benchmark::State& state) {
  Bench bench;
  const int64_t block = state.range(0);
  const Tensor r = bench.normal(kRows, kColumns, 1e-3F);
  const CodedMoment m = coded(bench, true, block);
  const CodedMoment v = coded(bench, false, block);
  bench.run(state, [&] { adam8bit_update(*bench.device, AdamRule(), block, r, m, v); });
}
BENCHMARK(adam8bit)->Arg(256)->Arg(2048)->UseRealTime()->Unit(benchmark::kMillisecond);

void code_search(benchmark::State& state) {
  Bench bench;
  const bool is_signed = state.range(0) == 1;
  const Tensor x = bench.normal(kRows, kColumns, 1e-3F);
  if (!is_signed) square(*bench.device, x, x);
  const CodedMoment moment = coded(bench, is_signed, 256);
  bench.run(state, [&] { encode_moment(*bench.device, is_signed, 256, x, moment); });
}
BENCHMARK(code_search)->ArgName("signed")->Arg(1)->Arg(0)->UseRealTime()->Unit(benchmark::kMillisecond);

void sgd(benchmark::State& state) {
  Bench bench;
  const Tensor r = bench.normal(kRows, kColumns);
  const Tensor buffer = bench.normal(kRows, kColumns);
  bench.run(state, [&] { momentum_update(*bench.device, 0.9F, 0.1F, r, buffer); });
}
BENCHMARK(sgd)->UseRealTime()->Unit(benchmark::kMillisecond);

void adafactor(benchmark::State& state) {
  Bench bench;
  const Tensor r = bench.normal(kRows, kColumns);
  const Tensor rows = bench.normal(kRows, 1);
  const Tensor columns = bench.normal(1, kColumns);
  const Tensor sums = bench.normal(1, adafactor_sum_count(kColumns));
  square(*bench.device, rows, rows);
  square(*bench.device, columns, columns);
  AdafactorRule rule;
  rule.beta2 = 0.9F;
  rule.learning_rate = 1.0F;
  bench.run(state, [&] {
    adafactor_sums(*bench.device, rule, r, rows, sums);
    adafactor_update(*bench.device, rule, r, rows, columns, sums, kRows, Tensor{});
  });
}
BENCHMARK(adafactor)->UseRealTime()->Unit(benchmark::kMillisecond);

void basis_decoding(benchmark::State& state) {
  Bench bench;
  const auto bits = static_cast<int>(state.range(0));
  const Tensor x = bench.normal(4096, 1024);
  const Tensor codes =
      bench.arena.tensor("codes", MemoryCategory::kSubspaces, basis_code_bytes(bits, x.size()), 1, DataType::kUint8);
  const Tensor scales = bench.arena.tensor("scales", MemoryCategory::kSubspaces, basis_blocks(bits, x.size()), 1);
  encode_basis(*bench.device, bits, x, codes, scales);
  bench.run(state, [&] { decode_basis(*bench.device, bits, codes, scales, x); });
}
BENCHMARK(basis_decoding)->ArgName("bits")->Arg(8)->Arg(4)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace galleon

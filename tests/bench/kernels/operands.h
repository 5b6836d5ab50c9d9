// Operands and rates of the kernels' benchmarks.
#pragma once

#include <benchmark/benchmark.h>

#include <memory>

#include "kernels/device.h"
#include "kernels/ops/random.h"

namespace galleon {

// A device with all cores, and operands of normal numbers on it.
struct Bench {
  std::unique_ptr<Device> device = make_cpu_device(0);
  Arena arena{*device};
  uint64_t stream = 0;

  Tensor normal(int64_t rows, int64_t columns, float deviation = 1.0F) {
    const Tensor t = arena.tensor("operand", MemoryCategory::kActivations, rows, columns);
    GALLEON_CHECK(arena.status().ok()) << arena.status().ToString();
    fill_normal(*device, t, 1, stream++, 0, 0.0F, deviation);
    return t;
  }

  // Runs `call` as often as asked and reports the rates that the ledger of work gives.
  template <typename Call>
  void run(benchmark::State& state, Call call) {
    GALLEON_CHECK(device->set_workspace_budget(int64_t{512} << 20).ok()) << "workspace";
    call();
    device->work() = {};
    for (auto _ : state) call();
    state.counters["GFLOP/s"] = benchmark::Counter(device->work().flops * 1e-9, benchmark::Counter::kIsRate);
    state.counters["GB/s"] = benchmark::Counter(device->work().bytes * 1e-9, benchmark::Counter::kIsRate);
  }
};

}  // namespace galleon

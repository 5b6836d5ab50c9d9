#include "tests/gpu/suite/ceilings.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <limits>

#include "kernels/cuda/devices.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/random.h"

namespace galleon::gpu {

namespace {

void good(cudaError_t error) {
  GALLEON_CHECK(error == cudaSuccess) << cudaGetErrorString(error);
}

}  // namespace

double seconds_of(Device& device, int repeats, const std::function<void()>& call) {
  auto* stream = static_cast<cudaStream_t>(compute_stream(device));
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  good(cudaEventCreate(&begin));
  good(cudaEventCreate(&end));
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < 4; ++run) {
    good(cudaEventRecord(begin, stream));
    for (int i = 0; i < repeats; ++i) call();
    good(cudaEventRecord(end, stream));
    good(cudaEventSynchronize(end));
    float milliseconds = 0;
    good(cudaEventElapsedTime(&milliseconds, begin, end));
    if (run > 0) best = std::min(best, milliseconds / 1e3 / repeats);
  }
  good(cudaEventDestroy(begin));
  good(cudaEventDestroy(end));
  return best;
}

double copy_bytes_per_second(Device& device) {
  constexpr int64_t kBytes = int64_t{1} << 30;
  Arena arena(device);
  const Tensor from = arena.tensor("from", MemoryCategory::kActivations, kBytes / 4, 1);
  const Tensor to = arena.tensor("to", MemoryCategory::kActivations, kBytes / 4, 1);
  GALLEON_CHECK(arena.status().ok()) << arena.status().ToString();
  auto* stream = static_cast<cudaStream_t>(compute_stream(device));
  const double seconds = seconds_of(device, 10, [&] {
    good(cudaMemcpyAsync(to.data, from.data, static_cast<size_t>(kBytes), cudaMemcpyDeviceToDevice, stream));
  });
  return 2.0 * static_cast<double>(kBytes) / seconds;
}

double bf16_flops_per_second(Device& device) {
  double best = 0;
  for (const int64_t n : {4096, 8192, 16384}) {
    Arena arena(device);
    const Tensor a = arena.tensor("a", MemoryCategory::kActivations, n, n, DataType::kBFloat16);
    const Tensor b = arena.tensor("b", MemoryCategory::kActivations, n, n, DataType::kBFloat16);
    const Tensor c = arena.tensor("c", MemoryCategory::kActivations, n, n, DataType::kBFloat16);
    // Zeros would draw less power and run faster than numbers do.
    const Tensor numbers = arena.tensor("numbers", MemoryCategory::kActivations, n, n);
    if (!arena.status().ok()) break;
    for (const Tensor& operand : {a, b}) {
      fill_normal(device, numbers, 1, operand.data == a.data ? 1 : 2, 0, 0.0F, 1.0F);
      convert(device, numbers, operand);
    }
    const double seconds = seconds_of(device, 10, [&] { matmul(device, a, Transpose::kNo, b, Transpose::kYes, c); });
    best = std::max(best, 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / seconds);
  }
  return best;
}

}  // namespace galleon::gpu

// gpu_suite: the parts of tests/gpu/run.sh that are programs. Exits 77 where there is no GPU.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <map>
#include <string>

#include "kernels/cuda/devices.h"
#include "tests/gpu/suite/parts.h"

namespace {

using galleon::gpu::Report;

// One line: name and figures of the GPU.
int probe() {
  const absl::StatusOr<int> count = galleon::cuda_device_count();
  if (!count.ok()) {
    std::printf("%s\n", std::string(count.status().message()).c_str());
    return 77;
  }
  cudaDeviceProp properties{};
  int driver = 0;
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess || cudaDriverGetVersion(&driver) != cudaSuccess) return 1;
  std::printf("%s, compute capability %d.%d, %d multiprocessors, %.1f GiB, driver for CUDA %d.%d\n", properties.name,
              properties.major, properties.minor, properties.multiProcessorCount,
              static_cast<double>(properties.totalGlobalMem) / (1 << 30), driver / 1000, driver % 1000 / 10);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, int (*)(Report&)> parts = {
      {"parity", galleon::gpu::parity},     {"shapes", galleon::gpu::shapes},   {"llama_1b", galleon::gpu::llama_1b},
      {"llama_7b", galleon::gpu::llama_7b}, {"methods", galleon::gpu::methods}, {"speeds", galleon::gpu::speeds},
      {"memory", galleon::gpu::memory},     {"nccl", galleon::gpu::nccl}};
  const std::string word = argc > 1 ? argv[1] : "";
  if (word == "probe") return probe();
  if (word == "export" && argc == 3) return galleon::gpu::export_llama_1b(argv[2]);
  if (const auto part = parts.find(word); part != parts.end() && argc == 2) {
    Report report;
    return part->second(report);
  }
  std::fprintf(
      stderr,
      "gpu_suite probe | export FOLDER | parity | shapes | llama_1b | llama_7b | methods | speeds | memory | nccl\n");
  return 2;
}

// gpu_suite: the parts of tests/gpu/run.sh that are programs. Exits 77 where there is no GPU.
#include <cuda_runtime_api.h>

#include <cstdio>
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
  const std::string part = argc > 1 ? argv[1] : "";
  Report report;
  if (part == "probe") return probe();
  if (part == "parity") return galleon::gpu::parity(report);
  if (part == "nccl") return galleon::gpu::nccl(report);
  if (part == "memory") return galleon::gpu::memory(report);
  if (part == "kernels") return galleon::gpu::kernels(report);
  if (part == "training") return galleon::gpu::training(report);
  std::fprintf(stderr, "gpu_suite probe | parity | nccl | memory | kernels | training\n");
  return 2;
}

// Attention and loss at the shapes of llama-1b, llama-7b and a vocabulary of 128k: where tiles, grids and 32-bit
// offsets are as large as a run has them.
#include "kernels/cuda/devices.h"
#include "tests/gpu/suite/compare.h"
#include "tests/gpu/suite/parts.h"

namespace galleon::gpu {

namespace {

void tell(Report& report, const std::string& shape, const std::vector<Comparison>& comparisons) {
  for (const Comparison& one : comparisons) {
    char bound[64];
    std::snprintf(bound, sizeof(bound), "<= %g", one.bound);
    report.fact("shapes." + shape + "." + one.name, one.first_wrong.empty(), one.worst, "of the largest",
                one.first_wrong.empty() ? bound : one.first_wrong);
  }
}

}  // namespace

int shapes(Report& report) {
  absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
  GALLEON_CHECK(device.ok()) << device.status().ToString();
  tell(report, "attention_16x1024x32x64", compare_attention(**device, {16, 1024, 32, 32, 64}));
  tell(report, "attention_2x4096x32x128", compare_attention(**device, {2, 4096, 32, 32, 128}));
  tell(report, "attention_2x4096x32x8x128", compare_attention(**device, {2, 4096, 32, 8, 128}));
  const std::unique_ptr<Device> cpu = make_cpu_device(0);
  tell(report, "loss_2048x32000", compare_loss(**device, *cpu, 2048, 32000));
  tell(report, "loss_512x128256", compare_loss(**device, *cpu, 512, 128256));
  return report.exit_code();
}

}  // namespace galleon::gpu

// Operations one by one: bytes a second of those bound by memory beside a copy's, and products of a model's layers
// beside the best product.
#include "kernels/cuda/devices.h"
#include "tests/gpu/suite/ceilings.h"
#include "tests/gpu/suite/parts.h"
#include "tests/kernels/cases/case.h"

namespace galleon::gpu {

namespace {

constexpr double kOfCopy = 0.8;

}  // namespace

int speeds(Report& report) {
  absl::StatusOr<std::unique_ptr<Device>> opened = make_cuda_device(0);
  GALLEON_CHECK(opened.ok()) << opened.status().ToString();
  Device& device = **opened;
  const double copy_rate = copy_bytes_per_second(device);
  const double product_rate = bf16_flops_per_second(device);
  report.figure("ceiling.copy", copy_rate / 1e9, "GB/s");
  report.figure("ceiling.bf16_product", product_rate / 1e12, "TFLOP/s");
  // Activations of llama-1b at 16 × 1,024 tokens; optimizer states of one of its compact matrices, many times over.
  int bound_by_memory = 0;
  int reach_the_aim = 0;
  for (const auto& of : model_cases(ModelSizes())) {
    const DrawnOperands operands(device, *of, DataType::kBFloat16);
    const auto call = [&] { of->run(device, operands.tensors()); };
    device.work() = {};
    call();
    const WorkCounters work = device.work();
    const double seconds = seconds_of(device, of->bound() == Bound::kSeconds ? 2 : 20, call);
    if (of->bound() == Bound::kMemory) {
      const double part = work.bytes / seconds / copy_rate;
      ++bound_by_memory;
      reach_the_aim += part >= kOfCopy ? 1 : 0;
      report.at_least("kernel." + of->name(), part, "of a copy", kOfCopy);
    } else if (of->bound() == Bound::kProduct) {
      report.figure("product." + of->name(), work.flops / seconds / product_rate, "of the best product");
    } else {
      report.figure(of->name(), seconds, "s");
    }
  }
  report.at_least("kernels_at_the_aim", reach_the_aim, "kernels", bound_by_memory);
  return report.exit_code();
}

}  // namespace galleon::gpu

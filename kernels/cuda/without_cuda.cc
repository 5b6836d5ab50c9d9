// In place of the device, in builds without CUDA.
#include "kernels/cuda/devices.h"

namespace galleon {

namespace {

absl::Status not_here() {
  return absl::UnimplementedError(
      "this build of Galleon has no CUDA; configure with `cmake --preset cuda`, or use resources.device: cpu");
}

}  // namespace

absl::StatusOr<int> cuda_device_count() {
  return not_here();
}

absl::StatusOr<std::unique_ptr<Device>> make_cuda_device(int) {
  return not_here();
}

void* compute_stream(const Device&) {
  return nullptr;
}

}  // namespace galleon

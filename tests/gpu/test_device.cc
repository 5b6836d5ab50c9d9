// What test_engine_on_gpu runs on. Without a GPU its tests are skipped.
#include "tests/worker/engine/test_device.h"

#include <gtest/gtest.h>

#include "kernels/cuda/devices.h"

namespace galleon {

namespace {

class NeedsGpu : public testing::Environment {
 public:
  void SetUp() override {
    const absl::StatusOr<int> count = cuda_device_count();
    if (!count.ok()) GTEST_SKIP() << count.status().message();
  }
};

testing::Environment* const needs_gpu = testing::AddGlobalTestEnvironment(new NeedsGpu);

}  // namespace

std::unique_ptr<Device> make_test_device(int) {
  absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
  GALLEON_CHECK(device.ok()) << device.status().ToString();
  return *std::move(device);
}

}  // namespace galleon

// What test_engine_on_gpu runs on. Without a GPU it exits 77, which CTest counts as skipped.
#include "tests/worker/engine/test_device.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "kernels/cuda/devices.h"

namespace galleon {

namespace {

class NeedsGpu : public testing::Environment {
 public:
  void SetUp() override {
    const absl::StatusOr<int> count = cuda_device_count();
    if (count.ok()) return;
    std::cout << "skipped: " << count.status().message() << std::endl;
    std::_Exit(77);
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

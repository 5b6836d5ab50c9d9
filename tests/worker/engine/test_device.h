// The device that a test's binary is about: the CPU's in test_engine; in test_engine_on_executor, which runs some of
// the same tests, the one that executes the CUDA kernels' code; in test_engine_on_gpu the first GPU.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace galleon {

std::unique_ptr<Device> make_test_device(int threads);

}  // namespace galleon

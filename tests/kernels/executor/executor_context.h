// What stands for CUDA's context in the executor.
#pragma once

#include <memory>

#include "executor_memory.h"
#include "kernels/device.h"
#include "kernels/operation_table.h"
#include "simt_executor.h"

namespace galleon::cuda {

struct Context {
  executor::GuardedMemory memory;
  void* result = nullptr;
  OutsideNote note{};
  std::unique_ptr<Device> cpu = make_cpu_device(1);  // for products and decompositions
};

}  // namespace galleon::cuda

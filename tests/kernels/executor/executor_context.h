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
  int64_t reads = 0;  // of device memory by the host, for each of which a GPU would be waited for
  std::unique_ptr<Device> cpu = make_cpu_device(1);  // for products and decompositions
};

}  // namespace galleon::cuda

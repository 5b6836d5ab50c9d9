// A device of kind "cuda" that runs the code of the CUDA kernels on the CPU; products and decompositions, which are
// libraries' on a GPU, are the CPU's.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace galleon {

std::unique_ptr<Device> make_executor_device();

}  // namespace galleon

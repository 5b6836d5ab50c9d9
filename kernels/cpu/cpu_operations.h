// The CPU's operation tables, one for each instruction set that this build holds.
#pragma once

#include <memory>
#include <vector>

#include "absl/strings/string_view.h"
#include "kernels/device.h"
#include "kernels/operation_table.h"

namespace galleon {

// The table of the best instruction set that this machine has.
const OperationTable& cpu_operations();

// Instruction sets that this build holds and this machine has, the best last: "baseline", "avx2", "avx512".
std::vector<absl::string_view> cpu_instruction_sets();
// A CPU device restricted to one of them, for tests and benchmarks.
std::unique_ptr<Device> make_cpu_device_for(absl::string_view instruction_set, int threads);

}  // namespace galleon

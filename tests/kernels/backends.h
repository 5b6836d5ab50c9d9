// The devices that the suites of the kernels run on. `all_backends` is defined beside each device that is not the
// CPU's: for tests without a GPU in executor/.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/device.h"

namespace galleon {

struct Backend {
  std::string name;  // as tests are named by it: "avx2_1", "executor"
  std::function<std::unique_ptr<Device>(int threads)> make;
  int threads = 1;
};

// GoogleTest would print the bytes of the struct.
inline void PrintTo(const Backend& backend, std::ostream* out) {
  *out << backend.name;
}

// Every instruction set, on one thread and on two.
inline std::vector<Backend> cpu_backends() {
  std::vector<Backend> backends;
  for (const absl::string_view view : cpu_instruction_sets()) {
    const std::string name(view);
    for (const int threads : {1, 2}) {
      backends.push_back({name + "_" + std::to_string(threads),
                          [name](int count) { return make_cpu_device_for(name, count); }, threads});
    }
  }
  return backends;
}

// These and every other device that executes.
std::vector<Backend> all_backends();

}  // namespace galleon

#include "tests/kernels/backends.h"

#include "executor_device.h"

namespace galleon {

std::vector<Backend> all_backends() {
  std::vector<Backend> backends = cpu_backends();
  backends.push_back({"executor", [](int) { return make_executor_device(); }});
  return backends;
}

}  // namespace galleon

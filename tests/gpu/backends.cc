// The suites of the kernels run on the GPU as well, where there is one.
#include "tests/kernels/backends.h"

#include "common/base/check.h"
#include "kernels/cuda/devices.h"

namespace galleon {

std::vector<Backend> all_backends() {
  std::vector<Backend> backends = cpu_backends();
  if (cuda_device_count().ok()) {
    backends.push_back({"cuda",
                        [](int) {
                          absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
                          GALLEON_CHECK(device.ok()) << device.status().ToString();
                          return *std::move(device);
                        },
                        1});
  }
  return backends;
}

}  // namespace galleon

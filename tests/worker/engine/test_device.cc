#include "tests/worker/engine/test_device.h"

namespace galleon {

std::unique_ptr<Device> make_test_device(int threads) {
  return make_cpu_device(threads);
}

}  // namespace galleon

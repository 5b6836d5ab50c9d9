#include "tests/worker/engine/test_device.h"

#include "executor_device.h"

namespace galleon {

std::unique_ptr<Device> make_test_device(int) {
  return make_executor_device();
}

}  // namespace galleon

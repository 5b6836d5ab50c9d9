#include "kernels/ops/random.h"

#include "kernels/ops/operands.h"

namespace galleon {

void fill_normal(Device& device, const Tensor& x, uint64_t seed, uint64_t stream, int64_t first, float mean,
                 float deviation) {
  check_shape("fill_normal: x", x, x.rows, x.columns);
  check_contiguous("fill_normal: x", x);
  GALLEON_CHECK(first >= 0) << "fill_normal: first is " << first;
  count_work(device, 0.0, static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  device.operations().fill_normal(device.execution(), x.size(), {seed, stream, first, mean, deviation}, x.f32());
}

}  // namespace galleon

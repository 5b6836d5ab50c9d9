#include "kernels/ops/optimizer.h"

#include "kernels/ops/operands.h"

namespace galleon {

void adam_update(Device& device, const AdamRule& rule, const Tensor& r, const Tensor& m, const Tensor& v) {
  check_shape("adam_update: m", m, r.rows, r.columns);
  check_shape("adam_update: v", v, r.rows, r.columns);
  check_contiguous("adam_update: r", r);
  check_contiguous("adam_update: m", m);
  check_contiguous("adam_update: v", v);
  count_work(device, 11.0 * static_cast<double>(r.size()), 6.0 * static_cast<double>(r.bytes()));
  if (!device.executes() || r.size() == 0) return;
  device.operations().adam_update(device.execution(), r.size(), rule.beta1, rule.beta2, rule.epsilon,
                                  rule.gradient_scale, r.f32(), m.f32(), v.f32());
}

}  // namespace galleon

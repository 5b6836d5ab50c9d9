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

void apply_projected(Device& device, const Tensor& weight, const Tensor& update, const Tensor& basis, float step,
                     float keep) {
  const int64_t rank = basis.columns;
  check_shape("apply_projected: weight", weight, weight.rows, weight.columns);
  check_shape("apply_projected: update", update, weight.rows, rank);
  check_shape("apply_projected: basis", basis, weight.columns, rank);
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.apply_projected_workspace(weight.rows, weight.columns, rank));
  count_work(device, 2.0 * static_cast<double>(weight.size()) * (static_cast<double>(rank) + 1.0),
             static_cast<double>(2 * weight.bytes() + update.bytes() + basis.bytes()));
  if (!device.executes() || weight.size() == 0) return;
  table.apply_projected(device.execution(), weight.rows, weight.columns, rank, weight.f32(), weight.stride,
                        update.f32(), update.stride, basis.f32(), basis.stride, step, keep, scratch.data());
}

void apply_dense(Device& device, const Tensor& weight, const Tensor& update, float step, float keep) {
  check_shape("apply_dense: weight", weight, weight.rows, weight.columns);
  check_shape("apply_dense: update", update, weight.rows, weight.columns);
  count_work(device, 3.0 * static_cast<double>(weight.size()), 3.0 * static_cast<double>(weight.bytes()));
  if (!device.executes() || weight.size() == 0) return;
  const Extent extent = elementwise_extent(weight, update);
  device.operations().apply_dense(device.execution(), extent.rows, extent.columns, weight.f32(), weight.stride,
                                  update.f32(), update.stride, step, keep);
}

double sum_of_squares(Device& device, const Tensor& x) {
  check_shape("sum_of_squares: x", x, x.rows, x.columns);
  const Extent extent = elementwise_extent(x);
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.sum_workspace(extent.rows, extent.columns));
  count_work(device, 2.0 * static_cast<double>(x.size()), static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return 0.0;
  return table.sum_of_squares(device.execution(), extent.rows, extent.columns, x.f32(), x.stride, scratch.data());
}

double sum(Device& device, const Tensor& x) {
  check_shape("sum: x", x, x.rows, x.columns);
  const Extent extent = elementwise_extent(x);
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.sum_workspace(extent.rows, extent.columns));
  count_work(device, static_cast<double>(x.size()), static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return 0.0;
  return table.sum(device.execution(), extent.rows, extent.columns, x.f32(), x.stride, scratch.data());
}

bool all_finite(Device& device, const Tensor& x) {
  check_shape("all_finite: x", x, x.rows, x.columns);
  count_work(device, 0.0, static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return true;
  const Extent extent = elementwise_extent(x);
  return device.operations().all_finite(device.execution(), extent.rows, extent.columns, x.f32(), x.stride);
}

uint64_t hash_bytes(Device& device, const Tensor& x) {
  check_contiguous("hash_bytes: x", x);
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.hash_bytes_workspace(x.bytes()));
  count_work(device, 0.0, static_cast<double>(x.bytes()));
  if (!device.executes()) return 0;
  return table.hash_bytes(device.execution(), x.data, x.bytes(), scratch.data());
}

void fill_normal(Device& device, const Tensor& x, uint64_t seed, uint64_t stream, int64_t first, float mean,
                 float deviation) {
  check_shape("fill_normal: x", x, x.rows, x.columns);
  check_contiguous("fill_normal: x", x);
  GALLEON_CHECK(first >= 0) << "fill_normal: first is " << first;
  count_work(device, 0.0, static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  device.operations().fill_normal(device.execution(), x.size(), x.f32(), seed, stream, first, mean, deviation);
}

}  // namespace galleon

#include "kernels/ops/weight_update.h"

#include "kernels/ops/operands.h"

namespace galleon {

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

}  // namespace galleon

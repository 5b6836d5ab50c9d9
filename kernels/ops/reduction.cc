#include "kernels/ops/reduction.h"

#include "kernels/ops/operands.h"

namespace galleon {

double sum_of_squares(Device& device, const Tensor& x) {
  check_shape("sum_of_squares: x", x, x.rows, x.columns, x.type);
  const Extent extent = elementwise_extent(x);
  const Workspace scratch(device, device.operations().sum_workspace(extent.rows, extent.columns));
  count_work(device, 2.0 * static_cast<double>(x.size()), static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return 0.0;
  double total = 0.0;
  by_float_type("sum_of_squares: x", device, x.type, [&](const auto& functions, auto element) {
    total = functions.sum_of_squares(device.execution(), extent.rows, extent.columns, matrix<decltype(element)>(x),
                                     scratch.data());
  });
  return total;
}

void note_sum_of_squares(Device& device, const Tensor& x, const Tensor& to) {
  check_shape("note_sum_of_squares: x", x, x.rows, x.columns, x.type);
  check_vector("note_sum_of_squares: to", to, sizeof(double), DataType::kUint8);
  GALLEON_CHECK(reinterpret_cast<uintptr_t>(to.data) % alignof(double) == 0) << "note_sum_of_squares: to";
  const Extent extent = elementwise_extent(x);
  const Workspace scratch(device, device.operations().sum_workspace(extent.rows, extent.columns));
  count_work(device, 2.0 * static_cast<double>(x.size()), static_cast<double>(x.bytes()));
  if (!device.executes()) return;
  by_float_type("note_sum_of_squares: x", device, x.type, [&](const auto& functions, auto element) {
    functions.note_sum_of_squares(device.execution(), extent.rows, extent.columns, matrix<decltype(element)>(x),
                                  reinterpret_cast<double*>(to.u8()), scratch.data());
  });
}

double sum(Device& device, const Tensor& x) {
  check_shape("sum: x", x, x.rows, x.columns);
  const Extent extent = elementwise_extent(x);
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.sum_workspace(extent.rows, extent.columns));
  count_work(device, static_cast<double>(x.size()), static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return 0.0;
  return table.sum(device.execution(), extent.rows, extent.columns, matrix<float>(x), scratch.data());
}

bool all_finite(Device& device, const Tensor& x) {
  check_shape("all_finite: x", x, x.rows, x.columns, x.type);
  count_work(device, 0.0, static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return true;
  const Extent extent = elementwise_extent(x);
  bool finite = false;
  by_float_type("all_finite: x", device, x.type, [&](const auto& functions, auto element) {
    finite = functions.all_finite(device.execution(), extent.rows, extent.columns, matrix<decltype(element)>(x));
  });
  return finite;
}

uint64_t hash_bytes(Device& device, const Tensor& x) {
  check_contiguous("hash_bytes: x", x);
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.hash_bytes_workspace(x.bytes()));
  count_work(device, 0.0, static_cast<double>(x.bytes()));
  if (!device.executes()) return 0;
  return table.hash_bytes(device.execution(), x.data, x.bytes(), scratch.data());
}

}  // namespace galleon

#include "kernels/ops/channels.h"

#include "kernels/ops/operands.h"

namespace galleon {

void row_squares(Device& device, const Tensor& x, const Tensor& to) {
  check_shape("row_squares: x", x, x.rows, x.columns);
  check_contiguous("row_squares: x", x);
  check_vector("row_squares: to", to, x.rows);
  count_work(device, 2.0 * static_cast<double>(x.size()), static_cast<double>(x.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || x.rows == 0) return;
  device.operations().row_squares(device.execution(), x.rows, x.columns, x.f32(), to.f32());
}

void column_squares(Device& device, const Tensor& x, const Tensor& to) {
  check_shape("column_squares: x", x, x.rows, x.columns);
  check_contiguous("column_squares: x", x);
  check_vector("column_squares: to", to, x.columns);
  count_work(device, 2.0 * static_cast<double>(x.size()), static_cast<double>(x.bytes()), WorkKind::kOptimizer);
  if (!device.executes()) return;
  device.operations().column_squares(device.execution(), x.rows, x.columns, x.f32(), to.f32());
}

void root_ratios(Device& device, float factor, const Tensor& a, const Tensor& b, float floor, const Tensor& to) {
  const int64_t size = to.size();
  if (a.rows > 0) check_vector("root_ratios: a", a, size);
  check_vector("root_ratios: b", b, size);
  check_vector("root_ratios: to", to, size);
  count_work(device, 4.0 * static_cast<double>(size), 3.0 * static_cast<double>(to.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || size == 0) return;
  device.operations().root_ratios(device.execution(), size, factor, vector_or_null(a), b.f32(), floor, to.f32());
}

void scale_channels(Device& device, float factor, const Tensor& common, const Tensor& rows, const Tensor& columns,
                    const Tensor& x) {
  check_shape("scale_channels: x", x, x.rows, x.columns);
  check_contiguous("scale_channels: x", x);
  if (common.rows > 0) check_vector("scale_channels: common", common, 1);
  if (rows.rows > 0) check_vector("scale_channels: rows", rows, x.rows);
  if (columns.rows > 0) check_vector("scale_channels: columns", columns, x.columns);
  count_work(device, 3.0 * static_cast<double>(x.size()), 2.0 * static_cast<double>(x.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().scale_channels(device.execution(), x.rows, x.columns, factor, vector_or_null(common),
                                     vector_or_null(rows), vector_or_null(columns), x.f32());
}

void growth_limit(Device& device, float factor, const Tensor& own, const Tensor& squares, float limit,
                  const Tensor& before, const Tensor& to) {
  if (own.rows > 0) check_vector("growth_limit: own", own, 1);
  check_vector("growth_limit: squares", squares, 1);
  check_vector("growth_limit: before", before, 1);
  check_vector("growth_limit: to", to, 1);
  count_work(device, 5.0, 5.0 * static_cast<double>(to.bytes()), WorkKind::kOptimizer);
  if (!device.executes()) return;
  device.operations().growth_limit(device.execution(), factor, vector_or_null(own), squares.f32(), limit, before.f32(),
                                   to.f32());
}

}  // namespace galleon

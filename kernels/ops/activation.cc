#include "kernels/ops/activation.h"

#include "kernels/ops/operands.h"

namespace galleon {

void swiglu(Device& device, const Tensor& gate, const Tensor& up, const Tensor& out) {
  check_shape("swiglu: gate", gate, gate.rows, gate.columns);
  check_shape("swiglu: up", up, gate.rows, gate.columns);
  check_shape("swiglu: out", out, gate.rows, gate.columns);
  count_work(device, 5.0 * static_cast<double>(gate.size()), 3.0 * static_cast<double>(gate.bytes()));
  if (!device.executes() || gate.size() == 0) return;
  const Extent extent = elementwise_extent(gate, up, out);
  device.operations().swiglu(device.execution(), extent.rows, extent.columns, gate.f32(), gate.stride, up.f32(),
                             up.stride, out.f32(), out.stride);
}

void swiglu_backward(Device& device, const Tensor& gate, const Tensor& up, const Tensor& dout, const Tensor& dgate,
                     const Tensor& dup) {
  check_shape("swiglu_backward: gate", gate, gate.rows, gate.columns);
  check_shape("swiglu_backward: up", up, gate.rows, gate.columns);
  check_shape("swiglu_backward: dout", dout, gate.rows, gate.columns);
  check_shape("swiglu_backward: dgate", dgate, gate.rows, gate.columns);
  check_shape("swiglu_backward: dup", dup, gate.rows, gate.columns);
  count_work(device, 11.0 * static_cast<double>(gate.size()), 5.0 * static_cast<double>(gate.bytes()));
  if (!device.executes() || gate.size() == 0) return;
  const Extent extent = elementwise_extent(gate, up, dout, dgate, dup);
  device.operations().swiglu_backward(device.execution(), extent.rows, extent.columns, gate.f32(), gate.stride,
                                      up.f32(), up.stride, dout.f32(), dout.stride, dgate.f32(), dgate.stride,
                                      dup.f32(), dup.stride);
}

void add(Device& device, const Tensor& x, const Tensor& y) {
  check_shape("add: x", x, x.rows, x.columns);
  check_shape("add: y", y, x.rows, x.columns);
  count_work(device, static_cast<double>(x.size()), 3.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x, y);
  device.operations().add(device.execution(), extent.rows, extent.columns, x.f32(), x.stride, y.f32(), y.stride);
}

void fill(Device& device, const Tensor& x, float value) {
  check_shape("fill: x", x, x.rows, x.columns);
  count_work(device, 0.0, static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x);
  device.operations().fill(device.execution(), extent.rows, extent.columns, x.f32(), x.stride, value);
}

void copy(Device& device, const Tensor& x, const Tensor& y) {
  check_shape("copy: x", x, x.rows, x.columns, x.type);
  check_shape("copy: y", y, x.rows, x.columns, x.type);
  count_work(device, 0.0, 2.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x, y);
  device.operations().copy(device.execution(), extent.rows, extent.columns, static_cast<const uint32_t*>(x.data),
                           x.stride, static_cast<uint32_t*>(y.data), y.stride);
}

void transpose(Device& device, const Tensor& x, const Tensor& y) {
  check_shape("transpose: x", x, x.rows, x.columns);
  check_shape("transpose: y", y, x.columns, x.rows);
  count_work(device, 0.0, 2.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  device.operations().transpose(device.execution(), x.rows, x.columns, x.f32(), x.stride, y.f32(), y.stride);
}

}  // namespace galleon

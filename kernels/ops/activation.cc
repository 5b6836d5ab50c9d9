#include "kernels/ops/activation.h"

#include "kernels/ops/operands.h"

namespace galleon {

void swiglu(Device& device, const Tensor& gate, const Tensor& up, const Tensor& out) {
  check_shape("swiglu: gate", gate, gate.rows, gate.columns, gate.type);
  check_shape("swiglu: up", up, gate.rows, gate.columns, gate.type);
  check_shape("swiglu: out", out, gate.rows, gate.columns, gate.type);
  count_work(device, 5.0 * static_cast<double>(gate.size()), 3.0 * static_cast<double>(gate.bytes()));
  if (!device.executes() || gate.size() == 0) return;
  const Extent extent = elementwise_extent(gate, up, out);
  by_float_type("swiglu: gate", device, gate.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.swiglu(device.execution(), extent.rows, extent.columns, matrix<T>(gate), matrix<T>(up), matrix<T>(out));
  });
}

void swiglu_backward(Device& device, const Tensor& gate, const Tensor& up, const Tensor& dout, const Tensor& dgate,
                     const Tensor& dup) {
  check_shape("swiglu_backward: gate", gate, gate.rows, gate.columns, gate.type);
  check_shape("swiglu_backward: up", up, gate.rows, gate.columns, gate.type);
  check_shape("swiglu_backward: dout", dout, gate.rows, gate.columns, gate.type);
  check_shape("swiglu_backward: dgate", dgate, gate.rows, gate.columns, gate.type);
  check_shape("swiglu_backward: dup", dup, gate.rows, gate.columns, gate.type);
  count_work(device, 11.0 * static_cast<double>(gate.size()), 5.0 * static_cast<double>(gate.bytes()));
  if (!device.executes() || gate.size() == 0) return;
  const Extent extent = elementwise_extent(gate, up, dout, dgate, dup);
  by_float_type("swiglu_backward: gate", device, gate.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.swiglu_backward(device.execution(), {.rows = extent.rows,
                                                   .n = extent.columns,
                                                   .gate = matrix<T>(gate),
                                                   .up = matrix<T>(up),
                                                   .dout = matrix<T>(dout),
                                                   .dgate = matrix<T>(dgate),
                                                   .dup = matrix<T>(dup)});
  });
}

void gelu(Device& device, const Tensor& x, bool tanh_form, const Tensor& y) {
  check_shape("gelu: x", x, x.rows, x.columns, x.type);
  check_shape("gelu: y", y, x.rows, x.columns, x.type);
  count_work(device, 25.0 * static_cast<double>(x.size()), 2.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x, y);
  by_float_type("gelu: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.gelu(device.execution(), extent.rows, extent.columns, tanh_form, matrix<T>(x), matrix<T>(y));
  });
}

void gelu_backward(Device& device, const Tensor& x, bool tanh_form, const Tensor& dy, const Tensor& dx) {
  check_shape("gelu_backward: x", x, x.rows, x.columns, x.type);
  check_shape("gelu_backward: dy", dy, x.rows, x.columns, x.type);
  check_shape("gelu_backward: dx", dx, x.rows, x.columns, x.type);
  count_work(device, 28.0 * static_cast<double>(x.size()), 3.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x, dy, dx);
  by_float_type("gelu_backward: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.gelu_backward(device.execution(), extent.rows, extent.columns, tanh_form, matrix<T>(x), matrix<T>(dy),
                            matrix<T>(dx));
  });
}

void hyperbolic_tangent(Device& device, const Tensor& x, const Tensor& y) {
  check_shape("hyperbolic_tangent: x", x, x.rows, x.columns, x.type);
  check_shape("hyperbolic_tangent: y", y, x.rows, x.columns, x.type);
  count_work(device, 20.0 * static_cast<double>(x.size()), 2.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x, y);
  by_float_type("hyperbolic_tangent: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.hyperbolic_tangent(device.execution(), extent.rows, extent.columns, matrix<T>(x), matrix<T>(y));
  });
}

void hyperbolic_tangent_backward(Device& device, const Tensor& y, const Tensor& dy, const Tensor& dx) {
  check_shape("hyperbolic_tangent_backward: y", y, y.rows, y.columns, y.type);
  check_shape("hyperbolic_tangent_backward: dy", dy, y.rows, y.columns, y.type);
  check_shape("hyperbolic_tangent_backward: dx", dx, y.rows, y.columns, y.type);
  count_work(device, 3.0 * static_cast<double>(y.size()), 3.0 * static_cast<double>(y.bytes()));
  if (!device.executes() || y.size() == 0) return;
  const Extent extent = elementwise_extent(y, dy, dx);
  by_float_type("hyperbolic_tangent_backward: y", device, y.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.hyperbolic_tangent_backward(device.execution(), extent.rows, extent.columns, matrix<T>(y), matrix<T>(dy),
                                          matrix<T>(dx));
  });
}

void add(Device& device, const Tensor& x, const Tensor& y) {
  check_shape("add: x", x, x.rows, x.columns, x.type);
  check_shape("add: y", y, x.rows, x.columns, x.type);
  count_work(device, static_cast<double>(x.size()), 3.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x, y);
  by_float_type("add: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.add(device.execution(), extent.rows, extent.columns, matrix<T>(x), matrix<T>(y));
  });
}

void fill(Device& device, const Tensor& x, float value) {
  check_shape("fill: x", x, x.rows, x.columns, x.type);
  count_work(device, 0.0, static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x);
  if (x.type == DataType::kUint16) {
    GALLEON_CHECK(value == 0.0F) << "fill: " << value << " as uint16";
    device.operations().bf16.fill(device.execution(), extent.rows, extent.columns,
                                  {static_cast<BFloat16*>(x.data), x.stride}, value);
    return;
  }
  by_float_type("fill: x", device, x.type, [&](const auto& functions, auto element) {
    functions.fill(device.execution(), extent.rows, extent.columns, matrix<decltype(element)>(x), value);
  });
}

void copy(Device& device, const Tensor& x, const Tensor& y) {
  check_shape("copy: x", x, x.rows, x.columns, x.type);
  check_shape("copy: y", y, x.rows, x.columns, x.type);
  count_work(device, 0.0, 2.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x, y);
  const int64_t width = bytes_of(x.type);
  device.operations().copy_bytes(device.execution(), extent.rows, extent.columns * width,
                                 {static_cast<const char*>(x.data), x.stride * width},
                                 {static_cast<char*>(y.data), y.stride * width});
}

void convert(Device& device, const Tensor& x, const Tensor& y) {
  if (x.type == y.type) {
    copy(device, x, y);
    return;
  }
  const bool narrows = x.type == DataType::kFloat32;
  const Tensor& other = narrows ? y : x;
  check_shape("convert: x", x, x.rows, x.columns, x.type);
  check_shape("convert: y", y, x.rows, x.columns, y.type);
  GALLEON_CHECK(narrows || y.type == DataType::kFloat32)
      << "convert: " << type_name(x.type) << " to " << type_name(y.type);
  count_work(device, 0.0, static_cast<double>(x.bytes() + y.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const Extent extent = elementwise_extent(x, y);
  by_float_type("convert", device, other.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    if (narrows) {
      functions.from_fp32(device.execution(), extent.rows, extent.columns, matrix<float>(x), matrix<T>(y));
    } else {
      functions.to_fp32(device.execution(), extent.rows, extent.columns, matrix<T>(x), matrix<float>(y));
    }
  });
}

void transpose(Device& device, const Tensor& x, const Tensor& y) {
  check_shape("transpose: x", x, x.rows, x.columns, x.type);
  check_shape("transpose: y", y, x.columns, x.rows, x.type);
  count_work(device, 0.0, 2.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  by_float_type("transpose: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.transpose(device.execution(), x.rows, x.columns, matrix<T>(x), matrix<T>(y));
  });
}

}  // namespace galleon

#include "kernels/ops/bias.h"

#include "kernels/ops/operands.h"

namespace galleon {

void add_bias(Device& device, const Tensor& bias, const Tensor& y) {
  check_shape("add_bias: y", y, y.rows, y.columns, y.type);
  check_vector("add_bias: bias", bias, y.columns, y.type);
  count_work(device, static_cast<double>(y.size()), static_cast<double>(2 * y.bytes() + bias.bytes()));
  if (!device.executes() || y.size() == 0) return;
  by_float_type("add_bias: y", device, y.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.add_bias(device.execution(), y.rows, y.columns, bias.as<T>(), matrix<T>(y));
  });
}

void bias_backward(Device& device, const Tensor& dy, const Tensor& dbias) {
  check_shape("bias_backward: dy", dy, dy.rows, dy.columns, dy.type);
  check_vector("bias_backward: dbias", dbias, dy.columns);
  count_work(device, static_cast<double>(dy.size()), static_cast<double>(dy.bytes() + 2 * dbias.bytes()));
  if (!device.executes() || dy.size() == 0) return;
  by_float_type("bias_backward: dy", device, dy.type, [&](const auto& functions, auto element) {
    functions.bias_backward(device.execution(), dy.rows, dy.columns, matrix<decltype(element)>(dy), dbias.f32());
  });
}

}  // namespace galleon

#include "kernels/ops/norm.h"

#include "kernels/ops/operands.h"

namespace galleon {
namespace {

void norm_forward(Device& device, const char* name, const Tensor& x, const Tensor* delta, const Tensor& weight,
                  float epsilon, const Tensor& y, const Tensor& inverse_rms) {
  check_shape(name, x, x.rows, x.columns, x.type);
  check_shape(name, y, x.rows, x.columns, x.type);
  check_vector(name, weight, x.columns, x.type);
  check_vector(name, inverse_rms, x.rows);
  if (delta != nullptr) check_shape(name, *delta, x.rows, x.columns, x.type);
  const auto size = static_cast<double>(x.size());
  count_work(device, size * (delta != nullptr ? 5 : 4),
             static_cast<double>(x.bytes() * (delta != nullptr ? 4 : 2) + weight.bytes() + inverse_rms.bytes()));
  if (!device.executes() || x.size() == 0) return;
  by_float_type(name, device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.rms_norm(device.execution(), {.rows = x.rows,
                                            .n = x.columns,
                                            .x = matrix<T>(x),
                                            .delta = delta != nullptr ? matrix<T>(*delta) : Matrix<T>{nullptr, 0},
                                            .weight = weight.as<T>(),
                                            .epsilon = epsilon,
                                            .y = matrix<T>(y),
                                            .inverse_rms = inverse_rms.f32()});
  });
}

}  // namespace

void rms_norm(Device& device, const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
              const Tensor& inverse_rms) {
  norm_forward(device, "rms_norm: an operand", x, nullptr, weight, epsilon, y, inverse_rms);
}

void add_rms_norm(Device& device, const Tensor& x, const Tensor& delta, const Tensor& weight, float epsilon,
                  const Tensor& y, const Tensor& inverse_rms) {
  norm_forward(device, "add_rms_norm: an operand", x, &delta, weight, epsilon, y, inverse_rms);
}

void rms_norm_recompute(Device& device, const Tensor& x, const Tensor& weight, const Tensor& inverse_rms,
                        const Tensor& y) {
  check_shape("rms_norm_recompute: x", x, x.rows, x.columns, x.type);
  check_shape("rms_norm_recompute: y", y, x.rows, x.columns, x.type);
  check_vector("rms_norm_recompute: weight", weight, x.columns, x.type);
  check_vector("rms_norm_recompute: inverse_rms", inverse_rms, x.rows);
  count_work(device, 2.0 * static_cast<double>(x.size()),
             static_cast<double>(x.bytes() * 2 + weight.bytes() + inverse_rms.bytes()));
  if (!device.executes() || x.size() == 0) return;
  by_float_type("rms_norm_recompute: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.rms_norm_recompute(device.execution(), {.rows = x.rows,
                                                      .n = x.columns,
                                                      .x = matrix<T>(x),
                                                      .weight = weight.as<T>(),
                                                      .inverse_rms = inverse_rms.f32(),
                                                      .y = matrix<T>(y)});
  });
}

void rms_norm_backward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& inverse_rms,
                       const Tensor& dy, const Tensor& dx, const Tensor& dweight) {
  check_shape("rms_norm_backward: x", x, x.rows, x.columns, x.type);
  check_shape("rms_norm_backward: dy", dy, x.rows, x.columns, x.type);
  check_shape("rms_norm_backward: dx", dx, x.rows, x.columns, x.type);
  check_vector("rms_norm_backward: weight", weight, x.columns, x.type);
  if (dweight.rows > 0) check_vector("rms_norm_backward: dweight", dweight, x.columns);
  check_vector("rms_norm_backward: inverse_rms", inverse_rms, x.rows);
  const Workspace scratch(device, device.operations().f32.rms_norm_backward_workspace(x.rows, x.columns));
  count_work(device, 11.0 * static_cast<double>(x.size()),
             static_cast<double>(x.bytes() * 4 + weight.bytes() * 3 + inverse_rms.bytes()));
  if (!device.executes() || x.size() == 0) return;
  by_float_type("rms_norm_backward: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.rms_norm_backward(device.execution(),
                                {.rows = x.rows,
                                 .n = x.columns,
                                 .x = matrix<T>(x),
                                 .weight = weight.as<T>(),
                                 .inverse_rms = inverse_rms.f32(),
                                 .dy = matrix<T>(dy),
                                 .dx = matrix<T>(dx),
                                 .dweight = vector_or_null(dweight)},
                                scratch.data());
  });
}

}  // namespace galleon

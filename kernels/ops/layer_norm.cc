#include "kernels/ops/layer_norm.h"

#include "kernels/ops/operands.h"

namespace galleon {
namespace {

void norm_forward(Device& device, const char* name, const Tensor& x, const Tensor* delta, const Tensor& weight,
                  const Tensor& bias, float epsilon, const Tensor& y, const Tensor& statistics) {
  check_shape(name, x, x.rows, x.columns, x.type);
  check_shape(name, y, x.rows, x.columns, x.type);
  check_vector(name, weight, x.columns, x.type);
  check_vector(name, bias, x.columns, x.type);
  check_shape(name, statistics, x.rows, 2);
  check_contiguous(name, statistics);
  if (delta != nullptr) check_shape(name, *delta, x.rows, x.columns, x.type);
  count_work(device, static_cast<double>(x.size()) * (delta != nullptr ? 8 : 7),
             static_cast<double>(x.bytes() * (delta != nullptr ? 4 : 2) + 2 * weight.bytes() + statistics.bytes()));
  if (!device.executes() || x.size() == 0) return;
  by_float_type(name, device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.layer_norm(device.execution(), {.rows = x.rows,
                                              .n = x.columns,
                                              .x = matrix<T>(x),
                                              .delta = delta != nullptr ? matrix<T>(*delta) : Matrix<T>{nullptr, 0},
                                              .weight = weight.as<T>(),
                                              .bias = bias.as<T>(),
                                              .epsilon = epsilon,
                                              .y = matrix<T>(y),
                                              .statistics = statistics.f32()});
  });
}

}  // namespace

void layer_norm(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                const Tensor& y, const Tensor& statistics) {
  norm_forward(device, "layer_norm: an operand", x, nullptr, weight, bias, epsilon, y, statistics);
}

void add_layer_norm(Device& device, const Tensor& x, const Tensor& delta, const Tensor& weight, const Tensor& bias,
                    float epsilon, const Tensor& y, const Tensor& statistics) {
  norm_forward(device, "add_layer_norm: an operand", x, &delta, weight, bias, epsilon, y, statistics);
}

void layer_norm_recompute(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                          const Tensor& statistics, const Tensor& y) {
  check_shape("layer_norm_recompute: x", x, x.rows, x.columns, x.type);
  check_shape("layer_norm_recompute: y", y, x.rows, x.columns, x.type);
  check_vector("layer_norm_recompute: weight", weight, x.columns, x.type);
  check_vector("layer_norm_recompute: bias", bias, x.columns, x.type);
  check_shape("layer_norm_recompute: statistics", statistics, x.rows, 2);
  check_contiguous("layer_norm_recompute: statistics", statistics);
  count_work(device, 4.0 * static_cast<double>(x.size()),
             static_cast<double>(x.bytes() * 2 + 2 * weight.bytes() + statistics.bytes()));
  if (!device.executes() || x.size() == 0) return;
  by_float_type("layer_norm_recompute: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.layer_norm_recompute(device.execution(), {.rows = x.rows,
                                                        .n = x.columns,
                                                        .x = matrix<T>(x),
                                                        .weight = weight.as<T>(),
                                                        .bias = bias.as<T>(),
                                                        .statistics = statistics.f32(),
                                                        .y = matrix<T>(y)});
  });
}

void layer_norm_backward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& statistics,
                         const Tensor& dy, const Tensor& dx, const Tensor& dweight, const Tensor& dbias) {
  check_shape("layer_norm_backward: x", x, x.rows, x.columns, x.type);
  check_shape("layer_norm_backward: dy", dy, x.rows, x.columns, x.type);
  check_shape("layer_norm_backward: dx", dx, x.rows, x.columns, x.type);
  check_vector("layer_norm_backward: weight", weight, x.columns, x.type);
  check_shape("layer_norm_backward: statistics", statistics, x.rows, 2);
  check_contiguous("layer_norm_backward: statistics", statistics);
  if (dweight.rows > 0) check_vector("layer_norm_backward: dweight", dweight, x.columns);
  if (dbias.rows > 0) check_vector("layer_norm_backward: dbias", dbias, x.columns);
  const Workspace scratch(device, device.operations().f32.layer_norm_backward_workspace(x.rows, x.columns));
  count_work(device, 14.0 * static_cast<double>(x.size()),
             static_cast<double>(x.bytes() * 3 + weight.bytes() * 4 + statistics.bytes()));
  if (!device.executes() || x.size() == 0) return;
  by_float_type("layer_norm_backward: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.layer_norm_backward(device.execution(),
                                  {.rows = x.rows,
                                   .n = x.columns,
                                   .x = matrix<T>(x),
                                   .weight = weight.as<T>(),
                                   .statistics = statistics.f32(),
                                   .dy = matrix<T>(dy),
                                   .dx = matrix<T>(dx),
                                   .dweight = vector_or_null(dweight),
                                   .dbias = vector_or_null(dbias)},
                                  scratch.data());
  });
}

}  // namespace galleon

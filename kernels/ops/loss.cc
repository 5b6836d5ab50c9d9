#include "kernels/ops/loss.h"

#include <limits>

#include "kernels/ops/index_check.h"
#include "kernels/ops/operands.h"

namespace galleon {
namespace {

void check_loss(const char* name, const Tensor& logits, const Tensor& targets, const Tensor& losses) {
  check_shape(name, logits, logits.rows, logits.columns);
  check_vector(name, targets, logits.rows, DataType::kInt32);
  check_vector(name, losses, logits.rows);
}

void check_targets(Device& device, const char* target, const Tensor& logits, const Tensor& targets) {
  check_indices(
      device, targets,
      {target, "token", "a vocabulary of", logits.columns, std::numeric_limits<int32_t>::min(), logits.columns});
}

}  // namespace

Tensor gradient_over(const Tensor& logits, DataType type) {
  return {logits.data, type, logits.rows, logits.columns,
          logits.stride * bytes_of(DataType::kFloat32) / bytes_of(type)};
}

void cross_entropy(Device& device, const Tensor& logits, const Tensor& targets, float scale, const Tensor& losses,
                   const Tensor& gradient, float z_loss) {
  check_loss("cross_entropy: an operand", logits, targets, losses);
  check_shape("cross_entropy: gradient", gradient, logits.rows, logits.columns, gradient.type);
  count_work(device, 5.0 * static_cast<double>(logits.size()),
             static_cast<double>(logits.bytes() + gradient.bytes() + targets.bytes() + losses.bytes()));
  if (!device.executes() || logits.size() == 0) return;
  check_targets(device, "cross_entropy: target", logits, targets);
  by_float_type("cross_entropy: gradient", device, gradient.type, [&](const auto& functions, auto element) {
    functions.cross_entropy(device.execution(), {.rows = logits.rows,
                                                 .n = logits.columns,
                                                 .logits = matrix<float>(logits),
                                                 .targets = targets.i32(),
                                                 .scale = scale,
                                                 .z_loss = z_loss,
                                                 .losses = losses.f32(),
                                                 .gradient = matrix<decltype(element)>(gradient)});
  });
}

void cross_entropy_forward(Device& device, const Tensor& logits, const Tensor& targets, const Tensor& losses) {
  check_loss("cross_entropy_forward: an operand", logits, targets, losses);
  count_work(device, 3.0 * static_cast<double>(logits.size()),
             static_cast<double>(logits.bytes() + targets.bytes() + losses.bytes()));
  if (!device.executes() || logits.size() == 0) return;
  check_targets(device, "cross_entropy_forward: target", logits, targets);
  device.operations().cross_entropy_forward(device.execution(), logits.rows, logits.columns, matrix<float>(logits),
                                            targets.i32(), losses.f32());
}

void squared_error(Device& device, const Tensor& outputs, const Tensor& labels, float scale, const Tensor& losses,
                   const Tensor& gradient) {
  check_shape("squared_error: outputs", outputs, outputs.rows, 1);
  check_vector("squared_error: labels", labels, outputs.rows);
  check_vector("squared_error: losses", losses, outputs.rows);
  if (gradient.rows > 0) check_shape("squared_error: gradient", gradient, outputs.rows, 1);
  count_work(device, 4.0 * static_cast<double>(outputs.size()), 4.0 * static_cast<double>(outputs.bytes()));
  if (!device.executes() || outputs.size() == 0) return;
  device.operations().squared_error(device.execution(), outputs.rows, matrix<float>(outputs), labels.f32(), scale,
                                    losses.f32(), matrix_or_none<float>(gradient));
}

}  // namespace galleon

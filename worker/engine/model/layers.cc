#include "worker/engine/model/layers.h"

#include "kernels/ops/activation.h"
#include "kernels/ops/bias.h"
#include "kernels/ops/linear.h"

namespace galleon {

void Layers::forward(const Linear& layer, const Tensor& x, const Tensor& y) const {
  const Parameter& p = parameters_[layer.weight];
  matmul(device_, x, Transpose::kNo, p.weight, p.transposed ? Transpose::kNo : Transpose::kYes, y);
  if (layer.bias >= 0 && y.type == p.weight.type) {
    add_bias(device_, weight(layer.bias), y);
  } else if (layer.bias >= 0) {
    const Workspace scratch(device_, y.columns * bytes_of(y.type));
    const Tensor bias = scratch.tensor(y.columns, 1, y.type);
    convert(device_, weight(layer.bias), bias);
    add_bias(device_, bias, y);
  }
  if (p.adapter >= 0) adapter_of(p).forward(device_, x, y);
}

void Layers::backward(const Linear& layer, const Tensor& x, const Tensor& dy, const Tensor& dx, float beta,
                      GradientSink& sink) const {
  const Parameter& p = parameters_[layer.weight];
  matmul(device_, dy, Transpose::kNo, p.weight, p.transposed ? Transpose::kYes : Transpose::kNo, dx, 1.0F, beta);
  if (layer.bias >= 0) {
    if (trained(layer.bias)) bias_backward(device_, dy, dense_gradient(layer.bias, sink));
    finished(layer.bias, sink);
  }
  if (p.trained >= 0) sink.linear(p.trained, x, dy);
  if (p.adapter >= 0) adapter_of(p).backward(device_, x, dy, dx, sink);
  finished(layer.weight, sink);
}

void Layers::backward_part(int weight, const Tensor& x, const Tensor& dy, const Tensor& dx, GradientSink& sink) const {
  const Parameter& p = parameters_[weight];
  matmul(device_, dy, Transpose::kNo, p.weight, p.transposed ? Transpose::kYes : Transpose::kNo, dx);
  if (p.trained >= 0) sink.linear(p.trained, x, dy);
}

Tensor Layers::dense_gradient(int parameter, GradientSink& sink) const {
  const int trained = parameters_[parameter].trained;
  return trained >= 0 ? sink.dense(trained) : Tensor{};
}

void Layers::finished(int parameter, GradientSink& sink) const {
  const int trained = parameters_[parameter].trained;
  if (trained >= 0) sink.finished(trained);
}

Adapter Layers::adapter_of(const Parameter& p) const {
  const Parameter& a = parameters_[p.adapter];
  Adapter adapter{a, parameters_[p.adapter + 1], static_cast<float>(lora_->scale()), {}};
  if (place_.has_value()) adapter.mask = adapter_mask(*lora_, a, place_->step, place_->first_token);
  return adapter;
}

}  // namespace galleon

#include "worker/engine/model/layers.h"

#include <algorithm>

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
  if (layer.bias >= 0) {
    if (trained(layer.bias)) bias_backward(device_, dy, dense_gradient(layer.bias, sink));
    finished(layer.bias, sink);
  }
  if (p.trained >= 0) sink.linear(p.trained, x, dy);
  const auto input_gradient = [&] {
    matmul(device_, dy, Transpose::kNo, p.weight, p.transposed ? Transpose::kYes : Transpose::kNo, dx, 1.0F, beta);
  };
  if (p.adapter < 0) {
    input_gradient();
  } else {
    const Adapter adapter = adapter_of(p);
    const Workspace memory(device_, dy.rows * adapter.rank() * bytes_of(dy.type));
    const Tensor ddown = memory.tensor(dy.rows, adapter.rank(), dy.type);
    adapter.backward(device_, x, dy, ddown, sink);
    input_gradient();
    adapter.backward_input(device_, ddown, dx, sink);
  }
  finished(layer.weight, sink);
}

void Layers::backward_part(int weight, const Tensor& x, const Tensor& dy, const Tensor& dx, GradientSink& sink) const {
  const Parameter& p = parameters_[weight];
  if (p.trained >= 0) sink.linear(p.trained, x, dy);
  backward_input(weight, dy, dx);
}

void Layers::backward_input(int weight, const Tensor& dy, const Tensor& dx) const {
  const Parameter& p = parameters_[weight];
  matmul(device_, dy, Transpose::kNo, p.weight, p.transposed ? Transpose::kYes : Transpose::kNo, dx);
}

int64_t Layers::rows_at_once(int parameter, const GradientSink& sink) const {
  return sink.rows_at_once(parameters_[parameter].trained);
}

void Layers::backward_by_rows(int weight, const Tensor& x, const Tensor& dy, GradientSink& sink) const {
  by_rows(weight, sink, [&](int64_t first, const Tensor& gradient) {
    matmul(device_, dy.column_range(first, gradient.rows), Transpose::kYes, x, Transpose::kNo, gradient);
  });
}

void Layers::by_rows(int parameter, GradientSink& sink, const std::function<void(int64_t, const Tensor&)>& make) const {
  const Parameter& p = parameters_[parameter];
  const int64_t at_once = rows_at_once(parameter, sink);
  for (int64_t first = 0; first < p.rows(); first += at_once) {
    const int64_t count = std::min(at_once, p.rows() - first);
    make(first, sink.dense_rows(p.trained, first, count));
    sink.finished_rows(p.trained, first, count);
  }
  sink.finished(p.trained);
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
  if (place_.has_value()) {
    adapter.mask = adapter_mask(*lora_, a, place_->step, place_->first_token);
    adapter.mask.row_numbers = row_numbers_;
  }
  return adapter;
}

ParameterNames::ParameterNames(const std::vector<Parameter>& parameters) {
  for (const Parameter& p : parameters) indices_.emplace(p.name, p.index);
}

int ParameterNames::at(const std::string& name) const {
  const auto found = indices_.find(name);
  GALLEON_CHECK(found != indices_.end()) << "the model has no parameter " << name;
  return found->second;
}

Linear ParameterNames::linear(const std::string& name) const {
  const auto bias = indices_.find(name + ".bias");
  return {at(name + ".weight"), bias == indices_.end() ? -1 : bias->second};
}

}  // namespace galleon

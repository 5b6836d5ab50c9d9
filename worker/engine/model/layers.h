// Linear layers as every model has them: weight, bias and adapter, forward and backward, with gradients handed on as
// factors.
#pragma once

#include <optional>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/model/lora.h"
#include "worker/engine/model/model.h"
#include "worker/engine/model/parameters.h"
#include "worker/engine/optim/gradient_sink.h"

namespace galleon {

// Parameter indices of y = x·Wᵀ + b.
struct Linear {
  int weight = -1;
  int bias = -1;  // -1: none
};

class Layers {
 public:
  Layers(std::vector<Parameter>& parameters, Device& device, const std::optional<LoraOptions>& lora)
      : parameters_(parameters), device_(device), lora_(lora) {}

  Device& device() const { return device_; }
  const Tensor& weight(int parameter) const { return parameters_[parameter].weight; }
  bool trained(int parameter) const { return parameters_[parameter].trained >= 0; }

  // Between these a pass of training takes place; outside them adapters drop nothing.
  void begin_training(const PassPlace& place) { place_ = place; }
  void end_training() { place_.reset(); }
  const std::optional<PassPlace>& place() const { return place_; }

  // y ← x·Wᵀ + b, and what the adapter of W adds. y is of the weights' type, or fp32 where there is no adapter.
  void forward(const Linear& layer, const Tensor& x, const Tensor& y) const;
  // dx ← dy·W + beta·dx (and what the adapter of W adds), then the gradients to the sink: all of this layer in this
  // backward.
  void backward(const Linear& layer, const Tensor& x, const Tensor& dy, const Tensor& dx, float beta,
                GradientSink& sink) const;
  // The same for some of a layer's tokens, without bias and adapter: the sink is told when it is finished by the
  // caller.
  void backward_part(int weight, const Tensor& x, const Tensor& dy, const Tensor& dx, GradientSink& sink) const;
  // Where the gradient of a norm, a bias or an embedding goes; empty if it is frozen.
  Tensor dense_gradient(int parameter, GradientSink& sink) const;
  void finished(int parameter, GradientSink& sink) const;

 private:
  Adapter adapter_of(const Parameter& p) const;

  std::vector<Parameter>& parameters_;
  Device& device_;
  std::optional<LoraOptions> lora_;
  std::optional<PassPlace> place_;
};

// Gives out the indices of a model's parameters in the order of model_parameters.
class ParameterOrder {
 public:
  explicit ParameterOrder(int first) : next_(first) {}
  int one() { return next_++; }
  Linear linear(bool with_bias) {
    Linear layer;
    layer.weight = next_++;
    if (with_bias) layer.bias = next_++;
    return layer;
  }

 private:
  int next_;
};

}  // namespace galleon

// Linear layers as every model has them: weight, bias and adapter, forward and backward, with gradients handed on as
// factors.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/ground/gradient_sink.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/model/lora.h"
#include "worker/engine/model/model.h"

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
  // row_numbers: as of a DropoutMask, of the pass's rows among those of sequences of full length.
  void begin_training(const PassPlace& place, const Tensor& row_numbers = {}) {
    place_ = place;
    row_numbers_ = row_numbers;
  }
  void end_training() { place_.reset(); }
  const std::optional<PassPlace>& place() const { return place_; }
  const Tensor& row_numbers() const { return row_numbers_; }

  // y ← x·Wᵀ + b, and what the adapter of W adds. y is of the weights' type, or fp32 where there is no adapter.
  void forward(const Linear& layer, const Tensor& x, const Tensor& y) const;
  // The gradients to the sink, all of this layer in this backward, then dx ← dy·W + beta·dx (and what the adapter of W
  // adds): dx may lie over x.
  void backward(const Linear& layer, const Tensor& x, const Tensor& dy, const Tensor& dx, float beta,
                GradientSink& sink) const;
  // The same for some of a layer's tokens, without bias and adapter: the sink is told when it is finished by the
  // caller.
  void backward_part(int weight, const Tensor& x, const Tensor& dy, const Tensor& dx, GradientSink& sink) const;
  // dx ← dy·W alone.
  void backward_input(int weight, const Tensor& dy, const Tensor& dx) const;
  // Whether the gradient of a parameter is wanted some rows at a time; then these hand on all of it.
  bool wanted_by_rows(int parameter) const { return trained(parameter) && parameters_[parameter].by_rows; }
  int64_t rows_at_once(int parameter, const GradientSink& sink) const;
  // make(first, gradient) fills in the gradient of the rows from `first` on.
  void by_rows(int parameter, GradientSink& sink, const std::function<void(int64_t, const Tensor&)>& make) const;
  // That of a linear layer, of all tokens.
  void backward_by_rows(int weight, const Tensor& x, const Tensor& dy, GradientSink& sink) const;
  // Where the gradient of a norm, a bias or an embedding goes; empty if it is frozen.
  Tensor dense_gradient(int parameter, GradientSink& sink) const;
  void finished(int parameter, GradientSink& sink) const;

 private:
  Adapter adapter_of(const Parameter& p) const;

  std::vector<Parameter>& parameters_;
  Device& device_;
  std::optional<LoraOptions> lora_;
  std::optional<PassPlace> place_;
  Tensor row_numbers_;
};

// The indices of a model's parameters by their names in model.safetensors.
class ParameterNames {
 public:
  explicit ParameterNames(const std::vector<Parameter>& parameters);
  // Aborts where there is none of that name.
  int at(const std::string& name) const;
  // NAME.weight and, where there is one, NAME.bias.
  Linear linear(const std::string& name) const;

 private:
  std::unordered_map<std::string, int> indices_;
};

}  // namespace galleon

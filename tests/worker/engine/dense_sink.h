// A sink that forms every gradient as a whole, for comparison with other programs.
#pragma once

#include <map>
#include <vector>

#include "kernels/ops/linear.h"
#include "worker/engine/ground/gradient_sink.h"
#include "worker/engine/ground/parameters.h"

namespace galleon {

// Collects gradients as transformers lays them out, without any projection.
class DenseSink final : public GradientSink {
 public:
  DenseSink(std::vector<Parameter>& parameters, Device& device) : parameters_(parameters), arena_(device) {
    for (const Parameter& p : parameters) {
      gradients_.push_back(arena_.tensor(p.name, MemoryCategory::kGradients, p.rows(), p.columns()));
    }
  }
  void linear(int parameter, const Tensor& x, const Tensor& dy) override {
    const Tensor& g = gradients_[parameter];
    const bool transposed = parameters_[parameter].transposed;
    const Tensor& a = transposed ? x : dy;
    const Tensor& b = transposed ? dy : x;
    matmul(arena_.device(), a, Transpose::kYes, b, Transpose::kNo, g, 1.0F, 1.0F);
  }
  Tensor dense(int parameter) override { return gradients_[parameter]; }
  void finished(int parameter) override { ++finished_[parameter]; }

  std::vector<float> gradient(int parameter, Device& device) const {
    Parameter as_weight = parameters_[parameter];
    as_weight.weight = gradients_[parameter];
    return get_weight(as_weight, device);
  }
  int times_finished(int parameter) const { return finished_.contains(parameter) ? finished_.at(parameter) : 0; }

 private:
  std::vector<Parameter>& parameters_;
  Arena arena_;
  std::vector<Tensor> gradients_;
  std::map<int, int> finished_;
};

}  // namespace galleon

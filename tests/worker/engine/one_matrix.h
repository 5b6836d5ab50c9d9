// One parameter under an optimizer, its gradients given whole.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "kernels/ops/activation.h"
#include "tests/worker/engine/test_device.h"
#include "worker/engine/optim/optimizer.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

// A matrix in a group that is projected if the options say so, its gradients given as factors: G = Iᵀ·G in either
// orientation; or a vector (`in` = 1), its gradients given as they are.
class OneMatrix {
 public:
  OneMatrix(int64_t out, int64_t in, const OptimizerOptions& options, int64_t micro_batches = 1,
            ParameterGroup group = ParameterGroup::kAttention, int64_t head_rows = 0)
      : device_(make_test_device(1)), arena_(*device_), communicator_(make_single_communicator(*device_)) {
    Parameter p;
    p.name = "w";
    p.group = group;
    p.head_rows = head_rows;
    p.out = out;
    p.in = in;
    p.vector = in == 1;
    if (options.galore.has_value()) {
      p.rank = std::min({options.galore->rank, out, in});
      p.transposed = projects_rows(options.galore->side, out, in);
      p.two_sided = options.galore->side == ProjectionSide::kFull;
    }
    parameters_ = {p};
    lay_out_for_rules(options, 1, parameters_);
    allocate_weights(parameters_, {}, arena_);
    optimizer_ = std::make_unique<Optimizer>(options, parameters_, micro_batches, arena_, *communicator_);
    std::vector<float> identity(static_cast<size_t>(out * out));
    for (int64_t i = 0; i < out; ++i) identity[i * out + i] = 1.0F;
    identity_ = scratch("identity", out, out, identity);
    gradient_ = arena_.tensor("given", MemoryCategory::kActivations, out, in);
  }

  StepReport step(int64_t number, const float* gradient) {
    device_->upload(gradient_, gradient);
    optimizer_->begin_step(number);
    optimizer_->begin_micro_batch(0);
    if (parameters_[0].vector) {
      copy(*device_, gradient_, optimizer_->dense(0));
    } else {
      // dW = dyᵀ·x with dy the identity and x the gradient.
      optimizer_->linear(0, gradient_, identity_);
    }
    optimizer_->finished(0);
    return optimizer_->end_step();
  }

  Device& device() { return *device_; }
  Optimizer& optimizer() { return *optimizer_; }
  Parameter& parameter() { return parameters_[0]; }
  // Of these numbers, or zeros.
  Tensor scratch(const char* name, int64_t rows, int64_t columns, const std::vector<float>& numbers = {}) {
    const Tensor t = arena_.tensor(name, MemoryCategory::kActivations, rows, columns);
    if (!numbers.empty()) device_->upload(t, numbers.data());
    return t;
  }
  template <typename T = float>
  std::vector<T> numbers_of(const Tensor& t) {
    std::vector<T> numbers(static_cast<size_t>(t.size()));
    device_->download(numbers.data(), t);
    return numbers;
  }
  // A piece of the optimizer's state, "w.first_moment" and the like.
  Tensor state(const std::string& name) {
    for (const StatePiece& piece : optimizer_->state()) {
      if (piece.name == name) return piece.tensor;
    }
    GALLEON_CHECK(false) << "there is no " << name;
    return {};
  }

 private:
  std::unique_ptr<Device> device_;
  Arena arena_;
  std::unique_ptr<Communicator> communicator_;
  std::vector<Parameter> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  Tensor identity_, gradient_;
};

}  // namespace galleon

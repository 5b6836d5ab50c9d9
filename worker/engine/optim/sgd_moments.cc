// SGD with momentum as torch.optim.SGD has it, without dampening: buffer ← μ·buffer + g, W ← W − lr·buffer. Decay is
// decoupled and comes after the update, as for AdamW.
#include "kernels/ops/activation.h"
#include "kernels/ops/optimizer.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

namespace {

class SgdMoments final : public Moments {
 public:
  SgdMoments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena)
      : momentum_(static_cast<float>(options.momentum)), matrix_(matrix) {
    if (keeps_buffer()) buffer_ = allocate_moment(matrix, "first_moment", arena);
  }

  void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor&) override {
    if (!keeps_buffer()) return;
    momentum_update(device, momentum_, static_cast<float>(step.gradient_scale), r, buffer_.row_range(first, r.rows));
  }
  // Without a buffer the clipping factor is left to the step.
  WeightStep weight_step(const RuleStep& step) const override {
    return {step.learning_rate * (keeps_buffer() ? 1.0 : step.gradient_scale), false};
  }
  void reset(Device& device) override {
    if (keeps_buffer()) fill(device, buffer_, 0.0F);
  }
  void rotate(Device& device, const Rotation& rotation) override {
    if (keeps_buffer()) rotate_moment(device, rotation, false, buffer_);
  }
  void add_state(std::vector<StatePiece>& pieces) const override {
    if (keeps_buffer()) pieces.push_back(moment_piece(matrix_, "first_moment", buffer_));
  }

 private:
  bool keeps_buffer() const { return momentum_ > 0; }

  float momentum_;
  CompactMatrix matrix_;
  Tensor buffer_;
};

}  // namespace

std::unique_ptr<Moments> allocate_sgd(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena) {
  return std::make_unique<SgdMoments>(options, matrix, arena);
}

}  // namespace galleon

// AdamW (Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019) as GaLore's reference has it, unless the job says
// otherwise: ε on the uncorrected √v, decay after the update. The small matrices of 8-bit Adam take the same way with
// its scaled ε.
#include "kernels/ops/activation.h"
#include "kernels/ops/optimizer.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

namespace {

class AdamMoments final : public Moments {
 public:
  AdamMoments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena)
      : options_(options),
        matrix_(matrix),
        first_(allocate_moment(matrix, "first_moment", arena)),
        second_(allocate_moment(matrix, "second_moment", arena)) {}

  void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor&) override {
    const EpsilonForm own =
        options_.rule == MomentRule::kAdam8bit ? EpsilonForm::kCorrected : EpsilonForm::kUncorrected;
    const double epsilon = epsilon_of(options_, own, step.count);
    const AdamRule rule{static_cast<float>(options_.beta1), static_cast<float>(options_.beta2),
                        static_cast<float>(epsilon), static_cast<float>(step.gradient_scale)};
    adam_update(device, rule, r, first_.row_range(first, r.rows), second_.row_range(first, r.rows));
  }
  WeightStep weight_step(const RuleStep& step) const override {
    return {step.learning_rate * bias_correction(options_, step.count), false};
  }
  void reset(Device& device) override {
    fill(device, first_, 0.0F);
    fill(device, second_, 0.0F);
  }
  void rotate(Device& device, const Rotation& rotation) override {
    rotate_moment(device, rotation, false, first_);
    rotate_moment(device, rotation, true, second_);
  }
  void add_state(std::vector<StatePiece>& pieces) const override {
    pieces.push_back(moment_piece(matrix_, "first_moment", first_));
    pieces.push_back(moment_piece(matrix_, "second_moment", second_));
  }

 private:
  OptimizerOptions options_;
  CompactMatrix matrix_;
  Tensor first_, second_;
};

}  // namespace

std::unique_ptr<Moments> allocate_adam(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena) {
  if (codes_of(options, matrix.rows, matrix.columns) != MomentCodes::kNone)
    return allocate_coded_adam(options, matrix, arena);
  return std::make_unique<AdamMoments>(options, matrix, arena);
}

}  // namespace galleon

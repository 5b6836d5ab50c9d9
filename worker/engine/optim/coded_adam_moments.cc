// Adam with moments in blocks of codes, decoded before each update and coded after it. 8-bit Adam has dynamic codes
// (Dettmers et al. 2022) and ε scaled by √(1−β₂ᵗ) unless the job says otherwise; AdamW with state_type: flash has
// companded ones, and ε as AdamW. Decay after the update. Blocks lie over the whole compact matrix, row by row, and own
// rows begin at one.
#include "kernels/ops/companded.h"
#include "worker/engine/optim/kept_moment.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

namespace {

class CodedAdamMoments final : public Moments {
 public:
  CodedAdamMoments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena)
      : options_(options),
        first_(options, matrix, MomentOrder::kFirst, arena),
        second_(options, matrix, MomentOrder::kSecond, arena) {}

  void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor&) override {
    const bool companded = first_.codes() == MomentCodes::kCompanded;
    const double epsilon =
        epsilon_of(options_, companded ? EpsilonForm::kUncorrected : EpsilonForm::kCorrected, step.count);
    const AdamRule rule{static_cast<float>(options_.beta1), static_cast<float>(options_.beta2),
                        static_cast<float>(epsilon), static_cast<float>(step.gradient_scale)};
    const CodedMoment m = first_.rows_of(first, r.rows);
    const CodedMoment v = second_.rows_of(first, r.rows);
    if (companded) {
      companded_adam_update(device, rule, r, m, v);
    } else {
      adam8bit_update(device, rule, options_.block_size, r, m, v);
    }
  }
  WeightStep weight_step(const RuleStep& step) const override {
    return {step.learning_rate * bias_correction(options_, step.count), false};
  }
  void reset(Device& device) override {
    first_.reset(device);
    second_.reset(device);
  }
  void rotate(Device& device, const Rotation& rotation) override {
    first_.rotate(device, rotation);
    second_.rotate(device, rotation);
  }
  void add_state(std::vector<StatePiece>& pieces) const override {
    first_.add_state(pieces);
    second_.add_state(pieces);
  }

 private:
  OptimizerOptions options_;
  KeptMoment first_, second_;
};

}  // namespace

std::unique_ptr<Moments> allocate_coded_adam(const OptimizerOptions& options, const CompactMatrix& matrix,
                                             Arena& arena) {
  return std::make_unique<CodedAdamMoments>(options, matrix, arena);
}

}  // namespace galleon

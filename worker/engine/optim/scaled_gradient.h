// What rules share that keep moments of a projected gradient and move weights by the whole one, scaled (APOLLO, Fira):
// the moments of R = G·P, rows×rank, and the limit on how fast the scaled gradient may grow.
#pragma once

#include <vector>

#include "kernels/device.h"
#include "worker/engine/optim/moments.h"

namespace galleon {

class ScaledGradient {
 public:
  // Moments of own rows of `matrix` at that rank.
  ScaledGradient(const OptimizerOptions& options, const CompactMatrix& matrix, int64_t rank, Arena& arena);

  int64_t rank() const { return rank_; }
  // Of r (own rows × rank, gradients as they were clipped): moments take their step, r ← N = M / (√V + ε).
  void advance(Device& device, const RuleStep& step, const Tensor& r) const;
  // n ← N of the step that was taken; n holds finite numbers.
  void read(Device& device, const RuleStep& step, const Tensor& n) const;
  // sum (1×1) ← Σ weights_i·numbers_i; rows×1 each. Of no rows 0.
  static void add_up(Device& device, const Tensor& weights, const Tensor& numbers, const Tensor& sum);
  // to (1×1) ← own·the part of a step of norm factor·own·√squares that may be taken.
  void limit(Device& device, double factor, const Tensor& own, const Tensor& squares, const Tensor& to) const;
  double bias_correction(const RuleStep& step) const { return galleon::bias_correction(options_, step.count); }

  void reset(Device& device) const;
  void add_state(std::vector<StatePiece>& pieces) const;

 private:
  OptimizerOptions options_;
  CompactMatrix matrix_;
  int64_t rank_;
  Tensor first_, second_;
  Tensor norm_;  // 1×1: of the scaled gradient of the step before, as it was limited
};

// ‖N‖ / (‖R‖ + this) is a channel's scale.
inline constexpr float kScaleFloor = 1e-8F;
// Of a matrix's random numbers: the same on all machines.
uint64_t seed_of(uint64_t seed, const std::string& name, int64_t number);

}  // namespace galleon

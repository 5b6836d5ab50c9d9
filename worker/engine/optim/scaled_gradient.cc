#include "worker/engine/optim/scaled_gradient.h"

#include "kernels/math/mix.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/channels.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/optimizer.h"

namespace galleon {

namespace {

CompactMatrix at_rank(const CompactMatrix& matrix, int64_t rank) {
  CompactMatrix projected = matrix;
  projected.columns = rank;
  return projected;
}

}  // namespace

ScaledGradient::ScaledGradient(const OptimizerOptions& options, const CompactMatrix& matrix, int64_t rank, Arena& arena)
    : options_(options),
      matrix_(at_rank(matrix, rank)),
      rank_(rank),
      first_(allocate_moment(matrix_, "first_moment", arena)),
      second_(allocate_moment(matrix_, "second_moment", arena)),
      norm_(arena.tensor(matrix.name + ".scaled_norm", MemoryCategory::kOptimizerStates, 1, 1)) {}

void ScaledGradient::advance(Device& device, const RuleStep& step, const Tensor& r) const {
  const double epsilon = epsilon_of(options_, EpsilonForm::kUncorrected, step.count);
  const AdamRule rule{static_cast<float>(options_.beta1), static_cast<float>(options_.beta2),
                      static_cast<float>(epsilon), 1.0F};
  adam_update(device, rule, r, first_, second_);
}

// A step of which the moments keep everything.
void ScaledGradient::read(Device& device, const RuleStep& step, const Tensor& n) const {
  const double epsilon = epsilon_of(options_, EpsilonForm::kUncorrected, step.count);
  adam_update(device, {1.0F, 1.0F, static_cast<float>(epsilon), 1.0F}, n, first_, second_);
}

void ScaledGradient::add_up(Device& device, const Tensor& weights, const Tensor& numbers, const Tensor& sum) {
  if (numbers.rows == 0) return fill(device, sum, 0.0F);
  matmul(device, weights, Transpose::kYes, numbers, Transpose::kNo, sum);
}

void ScaledGradient::limit(Device& device, double factor, const Tensor& own, const Tensor& squares,
                           const Tensor& to) const {
  growth_limit(device, static_cast<float>(factor), own, squares, static_cast<float>(options_.projection.growth_limit),
               norm_, to);
}

void ScaledGradient::reset(Device& device) const {
  for (const Tensor& t : {first_, second_, norm_}) fill(device, t, 0.0F);
}

void ScaledGradient::add_state(std::vector<StatePiece>& pieces) const {
  pieces.push_back(moment_piece(matrix_, "first_moment", first_));
  pieces.push_back(moment_piece(matrix_, "second_moment", second_));
  pieces.push_back({matrix_.name + ".scaled_norm", norm_, 0, 1, true});
}

uint64_t seed_of(uint64_t seed, const std::string& name, int64_t number) {
  uint64_t mixed = math::mixed_seed(seed, static_cast<uint64_t>(number));
  for (const char c : name) mixed = math::absorb(mixed, static_cast<unsigned char>(c));
  return math::avalanche(mixed);
}

}  // namespace galleon

#include "worker/engine/optim/moments.h"

#include <cmath>
#include <numeric>

#include "kernels/math/companded8.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/optimizer.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

namespace {

// Smaller matrices keep 32-bit moments (docs/design/galore.md, section 1).
constexpr int64_t kLeast8bit = 4096;

// The turn of one side, its elements squared for a second moment.
class Turn {
 public:
  Turn(Device& device, const Tensor& cosines, bool squared)
      : memory_(device, squared ? cosines.bytes() : 0), tensor_(cosines) {
    if (!squared) return;
    tensor_ = memory_.tensor(cosines.rows, cosines.columns);
    square(device, cosines, tensor_);
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  Workspace memory_;
  Tensor tensor_;
};

}  // namespace

MomentCodes codes_of(const OptimizerOptions& options, int64_t rows, int64_t columns) {
  if (rows * columns < kLeast8bit) return MomentCodes::kNone;
  if (options.state_type == StateType::kFlash) return MomentCodes::kCompanded;
  return kind_of(options.rule).codes ? MomentCodes::kDynamic : MomentCodes::kNone;
}

int64_t code_block(const OptimizerOptions& options) {
  return options.state_type == StateType::kFlash ? math::kCompandedGroup : options.block_size;
}

int64_t shard_unit(const OptimizerOptions& options, int64_t rows, int64_t columns) {
  if (codes_of(options, rows, columns) == MomentCodes::kNone) return 1;
  const int64_t block = code_block(options);
  return block / std::gcd(block, columns);
}

std::unique_ptr<Moments> allocate_moments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena) {
  return kind_of(options.rule).allocate(options, matrix, arena);
}

Tensor allocate_moment(const CompactMatrix& matrix, const char* what, Arena& arena) {
  return arena.tensor(matrix.name + "." + what, MemoryCategory::kOptimizerStates, matrix.own.count, matrix.columns);
}

StatePiece moment_piece(const CompactMatrix& matrix, const char* what, const Tensor& moment) {
  return {matrix.name + "." + what, moment, matrix.own.begin, matrix.rows, matrix.replicated};
}

double bias_correction(const OptimizerOptions& options, int64_t count) {
  const auto t = static_cast<double>(count);
  return std::sqrt(1.0 - std::pow(options.beta2, t)) / (1.0 - std::pow(options.beta1, t));
}

double epsilon_of(const OptimizerOptions& options, EpsilonForm form, int64_t count) {
  if (options.epsilon_form.value_or(form) == EpsilonForm::kUncorrected) return options.epsilon;
  return options.epsilon * std::sqrt(1.0 - std::pow(options.beta2, static_cast<double>(count)));
}

void rotate_moment(Device& device, const Rotation& rotation, bool squared, const Tensor& moment) {
  const Workspace memory(device, moment.bytes());
  const Tensor turned = memory.tensor(moment.rows, moment.columns);
  {
    const Turn columns(device, rotation.columns, squared);
    matmul(device, moment, Transpose::kNo, columns.tensor(), Transpose::kNo, turned);
  }
  if (rotation.rows.data == nullptr) {
    copy(device, turned, moment);
    return;
  }
  const Turn rows(device, rotation.rows, squared);
  matmul(device, rows.tensor(), Transpose::kYes, turned, Transpose::kNo, moment);
}

}  // namespace galleon

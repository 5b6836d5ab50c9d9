#include "worker/engine/optim/moments.h"

#include <cmath>
#include <numeric>

#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/optimizer.h"

namespace galleon {

namespace {

// Smaller matrices keep 32-bit moments (docs/design/galore.md, section 1).
constexpr int64_t kLeast8bit = 4096;

bool has_codes(const OptimizerOptions& options, int64_t rows, int64_t columns) {
  return options.rule == MomentRule::kAdam8bit && rows * columns >= kLeast8bit;
}

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

int64_t shard_unit(const OptimizerOptions& options, int64_t rows, int64_t columns) {
  if (!has_codes(options, rows, columns)) return 1;
  return options.block_size / std::gcd(options.block_size, columns);
}

std::unique_ptr<Moments> allocate_moments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena) {
  switch (options.rule) {
    case MomentRule::kAdamW:
      return allocate_adam(options, matrix, arena);
    case MomentRule::kAdam8bit:
      return has_codes(options, matrix.rows, matrix.columns) ? allocate_adam8bit(options, matrix, arena)
                                                             : allocate_adam(options, matrix, arena);
    case MomentRule::kAdafactor:
      return allocate_adafactor(options, matrix, arena);
    case MomentRule::kSgd:
      return allocate_sgd(options, matrix, arena);
  }
  return nullptr;
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

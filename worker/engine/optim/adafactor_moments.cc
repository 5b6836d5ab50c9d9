// Adafactor (Shazeer & Stern 2018) as GaLore's reference sets it: no parameter scale, no relative step, decay rate
// −0.8, clip at a root mean square of 1 in the compact space, an optional first moment after the learning rate without
// bias correction, decay before the update. A vector's second moment is not factored.
#include <cmath>

#include "kernels/ops/activation.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/reduction.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

namespace {

constexpr double kDecayRate = -0.8;

class AdafactorMoments final : public Moments {
 public:
  AdafactorMoments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena)
      : options_(options), matrix_(matrix) {
    if (options.beta1 > 0) first_ = allocate_moment(matrix, "first_moment", arena);
    if (matrix.vector) {
      second_ = allocate_moment(matrix, "second_moment", arena);
      return;
    }
    rows_ = arena.tensor(matrix.name + ".row_factor", MemoryCategory::kOptimizerStates, matrix.own.count, 1);
    columns_ = arena.tensor(matrix.name + ".column_factor", MemoryCategory::kOptimizerStates, 1, matrix.columns);
  }

  int64_t sum_count() const override { return matrix_.vector ? 1 : adafactor_sum_count(matrix_.columns); }

  void sum(Device& device, const RuleStep& step, const Tensor& r, const Tensor& sums) override {
    if (matrix_.vector) {
      adafactor_vector_sums(device, rule(step), r, second_, sums);
    } else {
      adafactor_sums(device, rule(step), r, rows_, sums);
    }
  }

  void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor& sums) override {
    GALLEON_CHECK(first == 0 && r.rows == matrix_.own.count) << "rows from " << first << " on alone";
    if (matrix_.vector) {
      adafactor_vector_update(device, rule(step), r, second_, sums, matrix_.rows * matrix_.columns, first_);
    } else {
      adafactor_update(device, rule(step), r, rows_, columns_, sums, matrix_.rows, first_);
    }
  }

  // The learning rate is in the update already.
  WeightStep weight_step(const RuleStep&) const override { return {1.0, true}; }

  void reset(Device& device) override {
    for (const Tensor& t : {first_, second_, rows_, columns_}) {
      if (t.data != nullptr) fill(device, t, 0.0F);
    }
  }

  // v_ij = rows_i·columns_j / mean, so that v·C² is a matter of the factors: each turns on its own side, and the means
  // of both stay one number, the mean of v.
  void rotate(Device& device, const Rotation& rotation) override {
    if (first_.data != nullptr) rotate_moment(device, rotation, false, first_);
    const double kept = turn(device, rotation.columns, columns_);
    if (rotation.rows.data == nullptr) {
      scale(device, static_cast<float>(kept), rows_, rows_);
      return;
    }
    const double kept_rows = turn(device, rotation.rows, rows_.reshape(1, rows_.rows));
    scale(device, static_cast<float>(kept), rows_, rows_);
    scale(device, static_cast<float>(kept_rows), columns_, columns_);
  }

  void add_state(std::vector<StatePiece>& pieces) const override {
    if (first_.data != nullptr) pieces.push_back(moment_piece(matrix_, "first_moment", first_));
    if (matrix_.vector) {
      pieces.push_back(moment_piece(matrix_, "second_moment", second_));
      return;
    }
    pieces.push_back({matrix_.name + ".row_factor", rows_, matrix_.own.begin, matrix_.rows, matrix_.replicated});
    pieces.push_back({matrix_.name + ".column_factor", columns_, 0, 1, true});
  }

 private:
  AdafactorRule rule(const RuleStep& step) const {
    AdafactorRule rule;
    rule.beta2 = static_cast<float>(1.0 - std::pow(static_cast<double>(step.count), kDecayRate));
    rule.epsilon = static_cast<float>(options_.epsilon);
    rule.gradient_scale = static_cast<float>(step.gradient_scale);
    rule.beta1 = static_cast<float>(options_.beta1);
    rule.learning_rate = static_cast<float>(step.learning_rate);
    return rule;
  }

  // factor (1×r) ← factor·C²; returns its sum's ratio to the one before.
  static double turn(Device& device, const Tensor& cosines, const Tensor& factor) {
    const double before = galleon::sum(device, factor);
    rotate_moment(device, {cosines, Tensor{}}, true, factor);
    const double after = galleon::sum(device, factor);
    return before > 0 ? after / before : 1.0;
  }
  OptimizerOptions options_;
  CompactMatrix matrix_;
  Tensor first_;   // own rows × columns; empty without β₁
  Tensor second_;  // of a vector
  Tensor rows_, columns_;
};

}  // namespace

std::unique_ptr<Moments> allocate_adafactor(const OptimizerOptions& options, const CompactMatrix& matrix,
                                            Arena& arena) {
  return std::make_unique<AdafactorMoments>(options, matrix, arena);
}

}  // namespace galleon

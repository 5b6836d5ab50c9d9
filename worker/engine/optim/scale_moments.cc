// SCALE (Glentis et al. 2025): the gradient with each column divided by its root mean square, and momentum for the last
// layer alone. Columns are those of the Hugging Face layout, along the outputs; an embedding, whose outputs are looked
// up one by one, has its rows divided. Vectors take AdamW. Decay comes after the update.
#include <cmath>

#include "kernels/ops/activation.h"
#include "kernels/ops/channels.h"
#include "kernels/ops/optimizer.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

namespace {

constexpr double kFloor = 1e-8;  // added to a root mean square: what has no gradient has no update

class ScaleMoments final : public Moments {
 public:
  ScaleMoments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena)
      : momentum_(options.momentum), matrix_(matrix), by_rows_(matrix.group == ParameterGroup::kEmbedding) {
    const bool last = matrix.group == ParameterGroup::kHead || matrix.group == ParameterGroup::kClassifier;
    if (last && momentum_ > 0) buffer_ = allocate_moment(matrix, "first_moment", arena);
  }

  int64_t sum_count() const override { return by_rows_ ? 0 : matrix_.columns; }

  void sum(Device& device, const RuleStep& step, const Tensor& r, const Tensor& sums) override {
    if (by_rows_) return;
    if (buffer_.data != nullptr) {
      combine(device, static_cast<float>((1.0 - momentum_) * step.gradient_scale), r, static_cast<float>(momentum_),
              buffer_, buffer_);
    }
    column_squares(device, buffer_.data != nullptr ? buffer_ : r, sums);
  }

  void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor& sums) override {
    GALLEON_CHECK(first == 0 && r.rows == matrix_.own.count) << "rows from " << first << " on alone";
    if (buffer_.data != nullptr) copy(device, buffer_, r);
    const int64_t channels = by_rows_ ? r.rows : r.columns;
    const Workspace memory(device, channels * bytes_of(DataType::kFloat32));
    const Tensor factors = by_rows_ ? memory.tensor(r.rows, 1) : memory.tensor(1, r.columns);
    if (by_rows_) row_squares(device, r, factors);
    // √numbers·x / (√squares + √numbers·floor), the floor that of a gradient before it was clipped.
    const double root = std::sqrt(static_cast<double>(by_rows_ ? matrix_.columns : matrix_.rows));
    const double clipped = buffer_.data != nullptr ? 1.0 : step.gradient_scale;
    root_ratios(device, static_cast<float>(root), Tensor{}, by_rows_ ? factors : sums,
                static_cast<float>(root * kFloor / clipped), factors);
    scale_channels(device, 1.0F, Tensor{}, by_rows_ ? factors : Tensor{}, by_rows_ ? Tensor{} : factors, r);
  }

  WeightStep weight_step(const RuleStep& step) const override { return {step.learning_rate, false}; }
  void reset(Device& device) override {
    if (buffer_.data != nullptr) fill(device, buffer_, 0.0F);
  }
  void rotate(Device&, const Rotation&) override { GALLEON_CHECK(false) << matrix_.name << " has no basis"; }
  void add_state(std::vector<StatePiece>& pieces) const override {
    if (buffer_.data != nullptr) pieces.push_back(moment_piece(matrix_, "first_moment", buffer_));
  }

 private:
  double momentum_;
  CompactMatrix matrix_;
  bool by_rows_;
  Tensor buffer_;  // of the last layer
};

}  // namespace

std::unique_ptr<Moments> allocate_scale(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena) {
  if (!matrix.vector) return std::make_unique<ScaleMoments>(options, matrix, arena);
  OptimizerOptions own = options;
  own.rule = MomentRule::kAdamW;
  return allocate_adam(own, matrix, arena);
}

}  // namespace galleon

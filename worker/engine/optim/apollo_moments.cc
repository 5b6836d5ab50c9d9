// APOLLO (Zhu et al. 2024): Adam's moments of a gradient that random numbers project, R = G·P, P normal with a variance
// of 1/rank and drawn anew from its seed every so many steps. All that is taken from them is how much each row of the
// whole gradient is scaled, s_i = ‖N_i‖ / ‖R_i‖: the update is √scale·s∘G, limited in its growth. APOLLO-Mini: rank 1,
// and one s for the matrix. Moments stay when P changes. P is nowhere kept. Decay comes after the update.
//
// A matrix is stored with its smaller side, the projected one, as columns, so that its channels are rows.
#include <cmath>

#include "kernels/ops/activation.h"
#include "kernels/ops/channels.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/random.h"
#include "worker/engine/optim/rules.h"
#include "worker/engine/optim/scaled_gradient.h"

namespace galleon {

namespace {

constexpr int64_t kFloat = bytes_of(DataType::kFloat32);

class ApolloMoments final : public Moments {
 public:
  ApolloMoments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena)
      : projection_(options.projection),
        matrix_(matrix),
        whole_(options.rule == MomentRule::kApolloMini),
        kept_(options, matrix, whole_ ? 1 : std::min(options.projection.rank, matrix.columns), arena) {
    if (!whole_) scales_ = arena.tensor(matrix.name + ".scales", MemoryCategory::kOptimizerStates, matrix.own.count, 1);
  }

  // Of the scaled gradient the squares; of a whole matrix those of N, R and G.
  int64_t sum_count() const override { return whole_ ? 3 : 1; }

  void sum(Device& device, const RuleStep& step, const Tensor& r, const Tensor& sums) override {
    const int64_t rows = r.rows;
    const Workspace memory(device, rows * (kept_.rank() + 4) * kFloat);
    const Tensor all = memory.tensor(rows * (kept_.rank() + 4), 1);
    const Tensor n = all.row_range(0, rows * kept_.rank()).reshape(rows, kept_.rank());
    const auto column = [&](int64_t i) { return all.row_range(rows * (kept_.rank() + i), rows); };
    const Tensor of_r = column(0);
    const Tensor of_n = column(1);
    const Tensor of_g = column(2);
    const Tensor weights = column(3);
    project(device, step, r, n);
    row_squares(device, n, of_r);
    kept_.advance(device, step, n);
    row_squares(device, n, of_n);
    row_squares(device, r, of_g);
    if (whole_) {
      fill(device, weights, 1.0F);
      const Tensor parts[] = {of_n, of_r, of_g};
      for (int64_t i = 0; i < 3; ++i) ScaledGradient::add_up(device, weights, parts[i], sums.column_range(i, 1));
      return;
    }
    root_ratios(device, 1.0F, of_n, of_r, kScaleFloor, scales_);
    square(device, scales_, weights);
    ScaledGradient::add_up(device, weights, of_g, sums);
  }

  void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor& sums) override {
    GALLEON_CHECK(first == 0 && r.rows == matrix_.own.count) << "rows from " << first << " on alone";
    const Workspace memory(device, 2 * kFloat);
    const Tensor part = memory.tensor(1, 2).column_range(0, 1);
    const Tensor own = memory.tensor(1, 2).column_range(1, 1);
    if (whole_) root_ratios(device, 1.0F, sums.column_range(0, 1), sums.column_range(1, 1), kScaleFloor, own);
    kept_.limit(device, step.gradient_scale, whole_ ? own : Tensor{}, sums.column_range(whole_ ? 2 : 0, 1), part);
    scale_channels(device, static_cast<float>(step.gradient_scale), part, whole_ ? Tensor{} : scales_, Tensor{}, r);
  }

  WeightStep weight_step(const RuleStep& step) const override {
    return {step.learning_rate * kept_.bias_correction(step) * std::sqrt(projection_.scale), false};
  }
  void reset(Device& device) override { kept_.reset(device); }
  void rotate(Device&, const Rotation&) override { GALLEON_CHECK(false) << matrix_.name << " has no basis"; }
  void add_state(std::vector<StatePiece>& pieces) const override { kept_.add_state(pieces); }

 private:
  // to ← (clipped G)·P.
  void project(Device& device, const RuleStep& step, const Tensor& r, const Tensor& to) const {
    const int64_t rank = kept_.rank();
    const Workspace memory(device, matrix_.columns * rank * kFloat);
    const Tensor random = memory.tensor(matrix_.columns, rank);
    const int64_t drawn = (step.count - 1) / projection_.refresh_interval;
    fill_normal(device, random, seed_of(projection_.seed, matrix_.name, drawn), 0, 0, 0.0F,
                static_cast<float>(1.0 / std::sqrt(static_cast<double>(rank))));
    if (r.rows == 0) return;
    matmul(device, r, Transpose::kNo, random, Transpose::kNo, to, static_cast<float>(step.gradient_scale));
  }

  ProjectionOptions projection_;
  CompactMatrix matrix_;
  bool whole_;  // one scale for all rows
  ScaledGradient kept_;
  Tensor scales_;  // of own rows, from the sums to the update of a step
};

}  // namespace

std::unique_ptr<Moments> allocate_apollo(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena) {
  return std::make_unique<ApolloMoments>(options, matrix, arena);
}

}  // namespace galleon

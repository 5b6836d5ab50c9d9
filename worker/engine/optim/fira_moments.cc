// Fira (Chen et al. 2024): GaLore's update, and what the projection leaves of the gradient beside it, scaled by row as
// Adam scales the projected one: W ← W − lr·C·(α·N·Pᵀ + S), S = s∘(G − R·Pᵀ), limited in its growth, with R = G·P and
// s_i = ‖N_i‖ / ‖R_i‖. The authors' program takes α·R·Pᵀ from G (Residual::kScaled). The basis is searched in the whole
// gradient's own rows by subspace iteration, and moments stay in the old one. Decay comes after the update.
//
// A matrix is stored with its smaller side, the projected one, as columns.
#include <algorithm>

#include "kernels/ops/activation.h"
#include "kernels/ops/channels.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/optimizer.h"
#include "worker/engine/optim/rules.h"
#include "worker/engine/optim/scaled_gradient.h"
#include "worker/engine/optim/subspace_iteration.h"

namespace galleon {

namespace {

constexpr int64_t kFloat = bytes_of(DataType::kFloat32);

class FiraMoments final : public Moments {
 public:
  FiraMoments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena)
      : projection_(options.projection),
        matrix_(matrix),
        kept_(options, matrix, std::min(options.projection.rank, matrix.columns), arena),
        basis_(arena.tensor(matrix.name + ".basis", MemoryCategory::kSubspaces, matrix.columns, kept_.rank())),
        scales_(arena.tensor(matrix.name + ".scales", MemoryCategory::kOptimizerStates, matrix.own.count, 1)) {}

  int64_t search_interval() const override { return projection_.refresh_interval; }

  // One bad gradient leaves the basis as it was.
  void search(Device& device, Communicator& communicator, const RuleStep& step, const Tensor& r) override {
    const uint64_t seed = seed_of(projection_.seed, matrix_.name, step.count);
    // The same in every search, so that each interval sends what the plan says.
    const uint64_t named = seed_of(projection_.seed, matrix_.name, 0);
    const int owner = static_cast<int>(named % static_cast<uint64_t>(communicator.ranks()));
    RowTiles g(r, matrix_.own.begin, matrix_.rows);
    const Workspace found_memory(device, basis_.bytes());
    const Workspace range_memory(device, matrix_.rows * kept_.rank() * kFloat);
    const Tensor found = found_memory.tensor(basis_.rows, basis_.columns);
    const Tensor range = range_memory.tensor(matrix_.rows, kept_.rank());
    const bool first = step.count == 1;
    if (first) {
      start_basis(device, basis_, seed);
      communicator.broadcast(basis_, owner, Content::kSubspace);
    }
    copy(device, basis_, found);
    const bool good = first ? find_first_basis(device, communicator, g, found, range, owner, seed)
                            : iterate_subspace(device, communicator, g, found, range, owner, seed);
    if (good) copy(device, found, basis_);
  }

  int64_t sum_count() const override { return 1; }

  void sum(Device& device, const RuleStep& step, const Tensor& r, const Tensor& sums) override {
    const int64_t rank = kept_.rank();
    const Workspace memory(device, r.rows * (2 * rank + 3) * kFloat);
    const Tensor all = memory.tensor(r.rows * (2 * rank + 3), 1);
    const Tensor projected = all.row_range(0, r.rows * rank).reshape(r.rows, rank);
    const Tensor n = all.row_range(r.rows * rank, r.rows * rank).reshape(r.rows, rank);
    const Tensor of_r = all.row_range(2 * r.rows * rank, r.rows);
    const Tensor of_n = all.row_range(r.rows * (2 * rank + 1), r.rows);
    const Tensor of_rest = all.row_range(r.rows * (2 * rank + 2), r.rows);
    project(device, step, r, projected);
    copy(device, projected, n);
    row_squares(device, n, of_r);
    kept_.advance(device, step, n);
    row_squares(device, n, of_n);
    root_ratios(device, 1.0F, of_n, of_r, kScaleFloor, scales_);
    // What the projection leaves, some rows at a time.
    const int64_t height =
        std::clamp<int64_t>(device.panel_bytes() / (r.columns * kFloat), 1, std::max<int64_t>(r.rows, 1));
    const Workspace panel_memory(device, height * r.columns * kFloat);
    for (int64_t first = 0; first < r.rows; first += height) {
      const int64_t count = std::min(height, r.rows - first);
      const Tensor panel = panel_memory.tensor(count, r.columns);
      scale(device, static_cast<float>(step.gradient_scale), r.row_range(first, count), panel);
      matmul(device, projected.row_range(first, count), Transpose::kNo, basis_, Transpose::kYes, panel, -taken(), 1.0F);
      row_squares(device, panel, of_rest.row_range(first, count));
    }
    square(device, scales_, of_r);
    ScaledGradient::add_up(device, of_r, of_rest, sums);
  }

  // r ← α·N·Pᵀ + S = l·s∘G + (α·N − taken·l·s∘R)·Pᵀ with l the part of S that is taken.
  void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor& sums) override {
    GALLEON_CHECK(first == 0 && r.rows == matrix_.own.count) << "rows from " << first << " on alone";
    const int64_t rank = kept_.rank();
    const Workspace memory(device, 2 * r.rows * rank * kFloat);
    const Workspace part_memory(device, kFloat);
    const Tensor part = part_memory.tensor(1, 1);
    const Tensor projected = memory.tensor(2 * r.rows, rank).row_range(0, r.rows);
    const Tensor n = memory.tensor(2 * r.rows, rank).row_range(r.rows, r.rows);
    kept_.limit(device, 1.0, Tensor{}, sums, part);
    if (r.rows == 0) return;
    project(device, step, r, projected);
    copy(device, projected, n);
    kept_.read(device, step, n);
    scale_channels(device, 1.0F, part, scales_, Tensor{}, projected);
    combine(device, static_cast<float>(projection_.scale), n, -taken(), projected, n);
    scale_channels(device, static_cast<float>(step.gradient_scale), part, scales_, Tensor{}, r);
    matmul(device, n, Transpose::kNo, basis_, Transpose::kYes, r, 1.0F, 1.0F);
  }

  WeightStep weight_step(const RuleStep& step) const override {
    return {step.learning_rate * kept_.bias_correction(step), false};
  }
  void reset(Device& device) override { kept_.reset(device); }
  void rotate(Device&, const Rotation&) override { GALLEON_CHECK(false) << matrix_.name << " keeps its moments"; }
  void add_state(std::vector<StatePiece>& pieces) const override {
    kept_.add_state(pieces);
    pieces.push_back({matrix_.name + ".basis", basis_, 0, basis_.rows, true});
  }

 private:
  float taken() const {
    return projection_.residual == Residual::kScaled ? static_cast<float>(projection_.scale) : 1.0F;
  }
  // to ← (clipped G)·P.
  void project(Device& device, const RuleStep& step, const Tensor& r, const Tensor& to) const {
    if (r.rows == 0) return;
    matmul(device, r, Transpose::kNo, basis_, Transpose::kNo, to, static_cast<float>(step.gradient_scale));
  }

  ProjectionOptions projection_;
  CompactMatrix matrix_;
  ScaledGradient kept_;
  Tensor basis_;   // columns×rank, the same on all ranks
  Tensor scales_;  // of own rows, from the sums to the update of a step
};

}  // namespace

std::unique_ptr<Moments> allocate_fira(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena) {
  return std::make_unique<FiraMoments>(options, matrix, arena);
}

}  // namespace galleon

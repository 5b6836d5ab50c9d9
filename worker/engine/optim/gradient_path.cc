#include "worker/engine/optim/gradient_path.h"

#include "kernels/math/mix.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/reduction.h"
#include "worker/engine/optim/in_type.h"

namespace galleon {

namespace {

// Of the noise that rounds a bf16 weight in a step; the same on all ranks.
uint64_t rounding_seed(uint64_t seed, int64_t step, int parameter) {
  constexpr uint64_t kParameters = 0xD1342543DE82EF95U;  // a multiplier of Steele & Vigna 2021
  return math::mixed_seed(seed, static_cast<uint64_t>(step)) * kParameters + static_cast<uint64_t>(parameter);
}

// x·P (tokens×rank, in x's type) in the workspace. x: tokens×columns; P: columns×rank.
class InSubspace {
 public:
  InSubspace(Device& device, const Tensor& x, const Basis& basis)
      : memory_(device, x.rows * basis.rank() * bytes_of(x.type)),
        tensor_(memory_.tensor(x.rows, basis.rank(), x.type)) {
    const BasisNumbers numbers(device, basis, x.type);
    matmul(device, x, Transpose::kNo, numbers.tensor(), Transpose::kNo, tensor_);
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  Workspace memory_;
  Tensor tensor_;
};

}  // namespace

void GradientPath::add(const Factors& g) {
  accumulate(g, gradient_.filled ? 1.0F : 0.0F);
  gradient_.filled = true;
}

Tensor GradientPath::dense() {
  if (!gradient_.filled) fill(device_, gradient_.accumulator, 0.0F);
  gradient_.filled = true;
  return gradient_.accumulator;
}

WeightUpdate GradientPath::weight_update(const RuleStep& step, int64_t number) const {
  const OptimizerOptions& options = method_.options();
  const WeightStep weight = rule_.moments->weight_step(step);
  const double keep = 1.0 - step.learning_rate * (group_.decays ? options.weight_decay : 0.0);
  const double size = weight.size * scale();
  return {.step = static_cast<float>(weight.decay_first ? size / keep : size),
          .keep = static_cast<float>(keep),
          .noise = rounding_seed(options.rounding_seed, number, parameter_.index),
          .first_row = parameter_.first_row};
}

void GradientPath::add_state(std::vector<StatePiece>& pieces) const {
  const Parameter& p = parameter_;
  rule_.moments->add_state(pieces);
  if (p.master.data != nullptr) pieces.push_back({p.name + ".master", p.master, p.first_row, p.rows(), !p.sharded});
}

void FullRankPath::accumulate(const Factors& g, float beta) {
  matmul(device_, g.a, Transpose::kYes, g.b, Transpose::kNo, gradient_.accumulator, 1.0F, beta);
}

void FullRankPath::apply(const Tensor& update, const WeightUpdate& how) const {
  if (parameter_.shard.rows == 0) return;
  apply_dense(device_, parameter_.shard, parameter_.master, update, how);
}

void ByRowsPath::update(const RuleStep& step, int64_t number, int64_t first, const Tensor& gradient) {
  const Parameter& p = parameter_;
  rule_.moments->update(device_, step, first, gradient, Tensor{});
  WeightUpdate how = weight_update(step, number);
  how.first_row = first;
  apply_dense(device_, p.shard.row_range(first, gradient.rows),
              p.master.data != nullptr ? p.master.row_range(first, gradient.rows) : Tensor{}, gradient, how);
}

ProjectedPath::ProjectedPath(Device& device, const Method& method, const Parameter& parameter, const Gradient& gradient,
                             int index, Arena& arena)
    : GradientPath(device, method, parameter, gradient), subspace_(parameter, method.galore(), index, arena) {}

Tensor ProjectedPath::dense() {
  GALLEON_CHECK(false) << parameter_.name << " is projected";
  return {};
}

void ProjectedPath::add_state(std::vector<StatePiece>& pieces) const {
  GradientPath::add_state(pieces);
  subspace_.add_state(pieces);
}

void ProjectedPath::accumulate(const Factors& g, float beta) {
  const InSubspace columns(device_, g.b, subspace_.columns());
  matmul(device_, g.a, Transpose::kYes, columns.tensor(), Transpose::kNo, gradient_.accumulator, 1.0F, beta);
}

double ProjectedPath::project(RowTiles& g, bool measure) {
  const int64_t rank = subspace_.columns().rank();
  const BasisNumbers basis(device_, subspace_.columns(), DataType::kFloat32);
  const bool in_place = range_in_accumulator();
  const Workspace memory(device_, in_place ? 0 : g.rows() * rank * bytes_of(DataType::kFloat32));
  const Tensor projected = in_place ? gradient_.accumulator : memory.tensor(g.rows(), rank);
  double energy = 0;
  g.visit([&](int64_t first, const Tensor& tile) {
    if (measure) energy += sum_of_squares(device_, tile);
    matmul(device_, tile, Transpose::kNo, basis.tensor(), Transpose::kNo, projected.row_range(first, tile.rows));
  });
  take_projected(projected);
  return energy;
}

void ProjectedPath::take_projected(const Tensor& projected) {
  if (projected.data != gradient_.accumulator.data) convert(device_, projected, gradient_.accumulator);
}

void ProjectedPath::apply(const Tensor& update, const WeightUpdate& how) const {
  const Parameter& p = parameter_;
  if (p.shard.rows == 0) return;
  const DataType type = p.shard.type;
  const BasisNumbers basis(device_, subspace_.columns(), type);
  const InType compact(device_, update, type);
  apply_projected(device_, p.shard, p.master, compact.tensor(), basis.tensor(), how);
}

void TwoSidedPath::accumulate(const Factors& g, float beta) {
  const InSubspace columns(device_, g.b, subspace_.columns());
  const InSubspace rows(device_, g.a, subspace_.rows());
  matmul(device_, rows.tensor(), Transpose::kYes, columns.tensor(), Transpose::kNo, gradient_.accumulator, 1.0F, beta);
}

void TwoSidedPath::take_projected(const Tensor& projected) {
  const BasisNumbers rows(device_, subspace_.rows(), DataType::kFloat32);
  matmul(device_, rows.tensor(), Transpose::kYes, projected, Transpose::kNo, gradient_.accumulator);
}

void TwoSidedPath::apply(const Tensor& update, const WeightUpdate& how) const {
  const Parameter& p = parameter_;
  if (p.shard.rows == 0) return;
  const DataType type = p.shard.type;
  const BasisNumbers basis(device_, subspace_.columns(), type);
  const InType compact(device_, update, type);
  const BasisNumbers rows(device_, subspace_.rows(), type);
  const Workspace memory(device_, p.shard.rows * p.rank * bytes_of(type));
  const Tensor back = memory.tensor(p.shard.rows, p.rank, type);  // own rows × rank
  matmul(device_, rows.tensor().row_range(p.first_row, p.shard.rows), Transpose::kNo, compact.tensor(), Transpose::kNo,
         back);
  apply_projected(device_, p.shard, p.master, back, basis.tensor(), how);
}

std::unique_ptr<GradientPath> make_path(Device& device, const Method& method, const Parameter& p,
                                        const Gradient& gradient, int projected, Arena& arena) {
  if (p.two_sided) return std::make_unique<TwoSidedPath>(device, method, p, gradient, projected, arena);
  if (p.rank > 0) return std::make_unique<ProjectedPath>(device, method, p, gradient, projected, arena);
  if (p.by_rows) return std::make_unique<ByRowsPath>(device, method, p, gradient);
  return std::make_unique<FullRankPath>(device, method, p, gradient);
}

}  // namespace galleon

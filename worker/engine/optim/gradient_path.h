// The way of one parameter's gradient: how contributions are added up, what of it travels between ranks, what the rule
// sees, and how the update reaches the weight. One class for each way; the optimizer lets their steps follow one
// another (optimizer.cc).
//
//   class          accumulates              the rule sees   applies
//   FullRankPath   G += aᵀ·b                G               W ← W − s·N
//   ByRowsPath     (rows, by the backward)  rows of G       the same, rows at a time
//   ProjectedPath  R += aᵀ·(b·P)            R = G·P         W ← W − s·N·Pᵀ
//   TwoSidedPath   R += (a·U)ᵀ·(b·P)        R = Uᵀ·G·P      W ← W − s·U·N·Pᵀ
//
// G is rows×columns as the matrix is stored, with its projected side as columns; a is tokens×rows, b tokens×columns.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/device.h"
#include "kernels/ops/weight_update.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/optim/gradient.h"
#include "worker/engine/optim/groups.h"
#include "worker/engine/optim/method.h"
#include "worker/engine/optim/moments.h"
#include "worker/engine/optim/row_tiles.h"
#include "worker/engine/optim/state_piece.h"
#include "worker/engine/optim/subspace.h"

namespace galleon {

class ProjectedPath;
class ByRowsPath;

// A contribution in stored orientation: G += aᵀ·b.
struct Factors {
  Tensor a;
  Tensor b;
};

// The rule of a parameter and what it has seen.
struct RuleState {
  std::unique_ptr<Moments> moments;
  int64_t count = 0;  // updates; a checkpoint keeps it
  Tensor sums;        // partial sums over all rows, of the update that is being made
};

class GradientPath {
 public:
  GradientPath(Device& device, const Method& method, const Parameter& parameter, const Gradient& gradient)
      : device_(device),
        method_(method),
        parameter_(parameter),
        group_(group_of(method.options(), parameter)),
        gradient_(gradient) {}
  virtual ~GradientPath() = default;
  GradientPath(const GradientPath&) = delete;
  GradientPath& operator=(const GradientPath&) = delete;

  const Parameter& parameter() const { return parameter_; }
  const GroupOptions& group() const { return group_; }
  Gradient& gradient() { return gradient_; }
  const Gradient& gradient() const { return gradient_; }
  RuleState& rule() { return rule_; }
  const RuleState& rule() const { return rule_; }

  // Adds a linear layer's contribution into the accumulator, which has its place.
  void add(const Factors& g);
  // The accumulator, zeroed before the first contribution, for what is no product.
  virtual Tensor dense();
  // How the rule's update of this step changes the weight.
  WeightUpdate weight_update(const RuleStep& step, int64_t number) const;
  // W ← W·keep − step·back(update). update: of the rows of the weight that this rank holds, or all of a replicated one.
  virtual void apply(const Tensor& update, const WeightUpdate& how) const = 0;
  virtual void add_state(std::vector<StatePiece>& pieces) const;

  // This one, if it is of that kind.
  virtual ProjectedPath* projected() { return nullptr; }
  virtual ByRowsPath* by_rows() { return nullptr; }

 protected:
  // beta: 0 for the first contribution, else 1.
  virtual void accumulate(const Factors& g, float beta) = 0;
  // Of an update, beside the rule's own size.
  virtual double scale() const { return 1.0; }

  Device& device_;
  const Method& method_;
  const Parameter& parameter_;
  GroupOptions group_;
  Gradient gradient_;
  RuleState rule_;
};

class FullRankPath : public GradientPath {
 public:
  using GradientPath::GradientPath;
  void apply(const Tensor& update, const WeightUpdate& how) const override;

 protected:
  void accumulate(const Factors& g, float beta) override;
};

// A matrix over the vocabulary: the backward forms the gradient of some rows, these are updated, and the next take
// their place.
class ByRowsPath final : public FullRankPath {
 public:
  using FullRankPath::FullRankPath;
  ByRowsPath* by_rows() override { return this; }
  int64_t rows_at_once() const { return gradient_.accumulator.rows; }
  // Rows [first, first + gradient.rows) of the weight, from their gradient, which the rule overwrites.
  void update(const RuleStep& step, int64_t number, int64_t first, const Tensor& gradient);
};

class ProjectedPath : public GradientPath {
 public:
  ProjectedPath(Device& device, const Method& method, const Parameter& parameter, const Gradient& gradient, int index,
                Arena& arena);
  ProjectedPath* projected() override { return this; }
  Subspace& subspace() { return subspace_; }
  const Subspace& subspace() const { return subspace_; }

  Tensor dense() override;
  void apply(const Tensor& update, const WeightUpdate& how) const override;
  void add_state(std::vector<StatePiece>& pieces) const override;

  // accumulator ← this rank's part of R, from a gradient that is there whole or in tiles (fp32). Returns ‖G‖² of it,
  // if `measure`.
  double project(RowTiles& g, bool measure);
  // Whether the range of G·P (rows×rank, fp32) can lie where R comes to lie.
  virtual bool range_in_accumulator() const { return gradient_.accumulator.type == DataType::kFloat32; }
  // Whether an estimate of ‖G‖² is of what the basis leaves alone, which is the more exact one.
  virtual bool estimates_beyond_basis() const { return true; }

 protected:
  void accumulate(const Factors& g, float beta) override;
  double scale() const override { return method_.galore().scale; }
  // accumulator ← what projecting the columns left (rows×rank, fp32), which may be the accumulator.
  virtual void take_projected(const Tensor& projected);

  Subspace subspace_;
};

// The compact matrix is rank×rank, and every rank holds all of it.
class TwoSidedPath final : public ProjectedPath {
 public:
  using ProjectedPath::ProjectedPath;
  void apply(const Tensor& update, const WeightUpdate& how) const override;
  bool range_in_accumulator() const override { return false; }
  bool estimates_beyond_basis() const override { return false; }

 protected:
  void accumulate(const Factors& g, float beta) override;
  void take_projected(const Tensor& projected) override;
};

// The way of a parameter under a method, its bases in `arena`. projected: how many projected ones came before it.
std::unique_ptr<GradientPath> make_path(Device& device, const Method& method, const Parameter& parameter,
                                        const Gradient& gradient, int projected, Arena& arena);

}  // namespace galleon

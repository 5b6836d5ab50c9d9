// GaLore-AdamW and AdamW, sharded over ranks, as one path: gradients arrive as factors and are accumulated in the
// subspace of their parameter (the identity for a full-rank one), reduced by rows, turned into an update by the rule on
// the rows that this rank owns, gathered, and applied. Per-layer and per-step update differ in when that happens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "worker/engine/dist/communicator.h"
#include "worker/engine/model/parameters.h"
#include "worker/engine/optim/gradient_sink.h"
#include "worker/engine/options.h"

namespace galleon {

// What one step did, for the metrics.
struct StepReport {
  double learning_rate = 0;
  double grad_norm = 0;       // before clipping, in the space of clip_space
  int refreshed = 0;          // matrices
  int skipped_refreshes = 0;  // gradients that were not finite
  double overlap_sum = 0;     // over refreshed matrices that had a basis before
  int overlaps = 0;
  double refresh_seconds = 0;
  // The parameter whose gradient holds a number that is not finite (of several the nearest to the loss), on every rank
  // the same; empty: none. With per-step update no weight has changed then, with per-layer update nothing may be kept.
  std::string not_finite;
};

// One named piece of optimizer state, for checkpoints. Rows are those of the whole compact matrix.
struct StatePiece {
  std::string name;  // PARAMETER.first_moment, .second_moment, .basis
  Tensor tensor;     // rows [first_row, first_row + tensor.rows) of it
  int64_t first_row = 0;
  int64_t total_rows = 0;
  bool replicated = false;  // the same on all ranks: the first one saves it
};

class Optimizer final : public GradientSink {
 public:
  // Allocates everything by shape in `arena`. `micro_batches`: passes of this rank in a step.
  Optimizer(const OptimizerOptions& options, std::vector<Parameter>& parameters, int64_t micro_batches, Arena& arena,
            Communicator& communicator);
  ~Optimizer() override;

  void begin_step(int64_t step);
  // Rounds over all micro-batches of the step that must come before it, while some matrix has no basis and its gradient
  // arrives in several pieces: a dense gradient for every matrix at once would not fit, but the iteration needs only
  // G·P and Gᵀ·Y, which factors give. 0 if nothing is to be found, or if one pass sees the whole gradient. A round:
  // begin_round, the micro-batches, end_round.
  int first_basis_rounds() const;
  void begin_round(int round);
  void end_round();
  void begin_micro_batch(int64_t index);
  void linear(int parameter, const Tensor& x, const Tensor& dy) override;
  Tensor dense(int parameter) override;
  void finished(int parameter) override;
  // Updates what is not updated yet. Before it, with per-step update, no weight has changed in this step.
  StepReport end_step();

  std::vector<StatePiece> state();
  // Steps that a parameter's moments have seen, by parameter (bias correction), and whether it has a basis.
  std::vector<int64_t> counts() const;
  void set_counts(const std::vector<int64_t>& counts);

  // Gives a parameter a basis (columns×rank) that is never refreshed; for comparisons with recorded runs.
  void inject_basis(int parameter, const float* basis);
  int64_t step() const { return step_; }
  // Whether a matrix is refreshed at this step. Public because the plan needs it.
  bool due(int parameter, int64_t step) const;

 private:
  struct Slot;

  bool needs_dense(const Slot& slot) const;
  bool finds_basis_in_rounds(const Slot& slot) const;
  uint64_t refresh_seed(const Slot& slot) const;
  uint64_t rounding_seed(int parameter) const;
  void linear_in_round(Slot& slot, const Tensor& a, const Tensor& b);
  void project(Slot& slot, const Tensor& g);
  // False: the gradient held a number that is not finite.
  bool refresh(Slot& slot, const Tensor& g);
  void reduce(Slot& slot);
  // Adds to the squares of the gradient's norm, which tell of a number that is not finite.
  void count_squares(const Slot& slot, double squares);
  void update(Slot& slot, double gradient_scale);
  Tensor dense_memory(Slot& slot);

  OptimizerOptions options_;
  std::vector<Parameter>& parameters_;
  Device& device_;
  Communicator& communicator_;
  int64_t micro_batches_;
  int projected_count_ = 0;
  std::vector<Slot> slots_;
  Tensor dense_scratch_;            // one dense gradient, when it lives within one call of finished()
  std::vector<Tensor> dense_held_;  // dense gradients that are accumulated over micro-batches, lent to due matrices
  std::vector<int> dense_lent_to_;
  int64_t step_ = 0;
  int64_t micro_batch_ = 0;
  int round_ = -1;       // of the search for first bases; -1: a step
  double squares_ = 0;   // of own rows after the reduction, or of dense gradients
  int not_finite_ = -1;  // the parameter nearest to the loss whose squares are not finite
  StepReport report_;
};

}  // namespace galleon

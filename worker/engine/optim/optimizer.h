// Any method and any rule, sharded over ranks. The optimizer lets the parts follow one another: a gradient takes the
// way of its parameter (gradient_path.h), is reduced in buckets (reducer.h), becomes an update by the rule on the rows
// that this rank owns (moments.h), is gathered, and is applied; bases are searched beside it (basis_search.h).
// Per-layer and per-step update differ in when that happens. A reduction travels while the backward computes the next
// gradients, an update while the next ones are computed. With ZeRO 2 gradients are reduced after each micro-batch; with
// ZeRO 3 a rank updates its own rows of the weights and nothing is gathered.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "worker/engine/ground/gradient_sink.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/optim/basis_search.h"
#include "worker/engine/optim/gradient_norm.h"
#include "worker/engine/optim/gradient_path.h"
#include "worker/engine/optim/method.h"
#include "worker/engine/optim/moments.h"
#include "worker/engine/optim/reducer.h"
#include "worker/engine/optim/refresh_pace.h"
#include "worker/engine/optim/state_piece.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// What one step did, for the metrics.
struct StepReport : RefreshReport {
  double learning_rate = 0;  // of matrices
  double grad_norm = 0;      // before clipping, in the space of clip_space
  // The parameter whose gradient holds a number that is not finite (of several the nearest to the loss), on every rank
  // the same; empty: none. With per-step update no weight has changed then, with per-layer update nothing may be kept.
  std::string not_finite;
};

// Decides which rows of each weight a rank holds: all, unless weights are sharded; then a matrix is cut where its
// moments are, and a vector, which is small, is whole. Before allocate_weights.
void cut_weights(const OptimizerOptions& options, int rank, int ranks, std::vector<Parameter>& parameters);

class Optimizer final : public GradientSink {
 public:
  // Allocates everything by shape in `arena`. `micro_batches`: passes of this rank in a step.
  Optimizer(const OptimizerOptions& options, std::vector<Parameter>& parameters, int64_t micro_batches, Arena& arena,
            Communicator& communicator);

  // With random bases, those that are due change here; a collective.
  void begin_step(int64_t step);
  // Rounds over all micro-batches of the step that must come before it, while some matrix has no basis and its gradient
  // arrives in several pieces (first_bases.h). 0 if nothing is to be found, or if one pass sees the whole gradient. A
  // round: begin_round, the micro-batches, end_round.
  int first_basis_rounds() const { return search_.first_rounds(); }
  void begin_round(int round);
  void end_round();
  void begin_micro_batch(int64_t index);
  void linear(int parameter, const Tensor& x, const Tensor& dy) override;
  Tensor dense(int parameter) override;
  int64_t rows_at_once(int parameter) const override;
  Tensor dense_rows(int parameter, int64_t first, int64_t count) override;
  void finished_rows(int parameter, int64_t first, int64_t count) override;
  void finished(int parameter) override;
  // Updates what is not updated yet. Before it, with per-step update, no weight has changed in this step.
  StepReport end_step();

  std::vector<StatePiece> state() const;
  // What a checkpoint keeps beside tensors, by parameter: steps that the moments have seen (bias correction), and when
  // the next refresh may be.
  std::vector<int64_t> counts() const;
  std::vector<RefreshPace> paces() const;
  // After state() was filled: goes on from there, with the bases that were saved.
  void resume(const std::vector<int64_t>& counts, const std::vector<RefreshPace>& paces);

  // Gives a parameter bases that are never refreshed; for comparisons with recorded runs. basis: columns×rank; rows:
  // rows×rank, for a matrix with two projected sides.
  void inject_basis(int parameter, const float* basis, const float* rows = nullptr);
  int64_t step() const { return step_; }
  // Steps between two searches of a basis, GaLore's or a rule's own; 1 where there are none. The plan needs it.
  int64_t refresh_interval() const;
  // Of the refresh interval that begins with this step, the steps with a refresh, in order.
  std::vector<int64_t> refreshes(int64_t first) const;

 private:
  using Paths = Reducer::Paths;

  std::vector<std::unique_ptr<GradientPath>> make_paths(Arena& arena) const;
  void forget_contributions();
  bool last_pass() const { return micro_batch_ + 1 == method_.micro_batches(); }
  // Of the update that is the path's `count`th.
  RuleStep rule_step(const GradientPath& path, int64_t count, double gradient_scale) const {
    return {count, learning_rate_ * path.group().rate, gradient_scale};
  }

  // In the order of a gradient's way.
  void complete(GradientPath& path);
  void take_reduced(Paths paths);
  void update(Paths paths, double gradient_scale);
  void update_together(Paths paths);
  void search(GradientPath& path);
  void sum_over_rows(Paths paths, const Tensor& sums, int64_t sharded);
  void update_bucket(Paths bucket);
  void make_update(GradientPath& path);
  void apply_updates(Paths bucket);

  // The norm is a collective; false: some gradient is not finite.
  bool measure_norm(StepReport& report);
  std::string nearest_not_finite();

  Method method_;
  std::vector<Parameter>& parameters_;
  Device& device_;
  Communicator& communicator_;
  std::vector<std::unique_ptr<GradientPath>> owned_;
  std::vector<GradientPath*> paths_;  // by parameter
  Reducer reducer_;
  GradientNorm norm_;
  BasisSearch search_;

  int64_t step_ = 0;
  int64_t micro_batch_ = 0;
  double learning_rate_ = 0;     // of this step, of matrices
  double gradient_scale_ = 1.0;  // of the updates that are made
};

}  // namespace galleon

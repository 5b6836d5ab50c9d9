// Any moment rule at full rank or under GaLore, sharded over ranks, as one path: gradients arrive as factors and are
// accumulated in the subspace of their parameter (the identity for a full-rank one), reduced by rows, turned into an
// update by the rule on the rows that this rank owns, gathered, and applied. Per-layer and per-step update differ in
// when that happens. A reduction travels while the backward computes the next gradients, an update while the next ones
// are computed. With ZeRO 2 gradients are reduced after each micro-batch, with ZeRO 3 a rank updates its own rows of
// the weights and nothing is gathered. A matrix with two projected sides is small, and every rank holds all of it. What
// is small travels in bundles.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "kernels/ops/weight_update.h"
#include "worker/engine/dist/communicator.h"
#include "worker/engine/model/parameters.h"
#include "worker/engine/optim/gradient_sink.h"
#include "worker/engine/optim/moments.h"
#include "worker/engine/optim/refresh_pace.h"
#include "worker/engine/optim/stage.h"
#include "worker/engine/optim/state_piece.h"
#include "worker/engine/options.h"

namespace galleon {

class RowBands;

// What one step did, for the metrics.
struct StepReport {
  double learning_rate = 0;
  double grad_norm = 0;       // before clipping, in the space of clip_space
  int refreshed = 0;          // matrices
  int skipped_refreshes = 0;  // gradients that were not finite
  double overlap_sum = 0;     // over refreshed matrices that had a basis before
  int overlaps = 0;
  double energy_sum = 0;  // ‖G·P‖² / ‖G‖² of the mean gradient and the new basis, over refreshes that saw the gradient
  int energies = 0;
  double refresh_seconds = 0;
  // The parameter whose gradient holds a number that is not finite (of several the nearest to the loss), on every rank
  // the same; empty: none. With per-step update no weight has changed then, with per-layer update nothing may be kept.
  std::string not_finite;
};

// Decides which rows of each weight a rank holds: all, unless weights are sharded; then a matrix is cut where its
// moments are, and a vector, which is small, is whole. Before allocate_weights.
void cut_weights(const OptimizerOptions& options, int rank, int ranks, std::vector<Parameter>& parameters);

// Parameters of one of these are updated by rows (Parameter::by_rows): what stands in the way is the norm of the whole,
// a rule that looks at all rows, several passes a step and several ranks.
bool updates_by_rows(const OptimizerOptions& options, int64_t micro_batches, int ranks);

class Optimizer final : public GradientSink {
 public:
  // Allocates everything by shape in `arena`. `micro_batches`: passes of this rank in a step.
  Optimizer(const OptimizerOptions& options, std::vector<Parameter>& parameters, int64_t micro_batches, Arena& arena,
            Communicator& communicator);
  ~Optimizer() override;

  // With random bases, those that are due change here; a collective.
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
  int64_t rows_at_once(int parameter) const override;
  Tensor dense_rows(int parameter, int64_t first, int64_t count) override;
  void finished_rows(int parameter, int64_t first, int64_t count) override;
  void finished(int parameter) override;
  // Updates what is not updated yet. Before it, with per-step update, no weight has changed in this step.
  StepReport end_step();

  std::vector<StatePiece> state();
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
  // Whether a matrix is refreshed at this step. Public because the plan needs it.
  bool due(int parameter, int64_t step) const;

 private:
  struct Slot;

  bool last_pass() const { return micro_batch_ + 1 == micro_batches_; }
  bool one_pass_per_layer() const { return options_.per_layer && micro_batches_ == 1; }
  DataType accumulator_type(const Slot& slot) const;
  bool staged(const Slot& slot) const;
  bool keeps_own_rows(const Slot& slot) const;
  void allocate_accumulators(Arena& arena);
  void allocate_flight(Arena& arena);
  void allocate_dense(Arena& arena);
  static int64_t staged_bytes_of(const Slot& slot);
  void stage(Slot& slot);
  bool place(Slot& slot);  // false: the stage is full
  void leave_stage(absl::Span<Slot* const> slots);
  bool refreshes_from_gradients() const;
  // Whether a gradient under refresh is formed a band of rows at a time and never whole.
  bool refreshes_in_bands() const;
  bool needs_dense(const Slot& slot) const;
  Tensor dense_memory(Slot& slot);
  void accumulate(const Slot& slot, const Tensor& a, const Tensor& b, float beta);

  // The gradient is complete: it waits for its reduction.
  void enqueue(Slot& slot);

  // update.cc
  // Cut where the next would make a bundle too large for one exchange.
  static std::vector<std::vector<Slot*>> bundles(absl::Span<Slot* const> slots, int64_t largest = kBundleBytes);
  // Begins or makes the reduction of the gradients that wait for it, and updates their weights if it is time.
  void flush();
  // Completes the reduction that is under way.
  void land();
  static std::vector<ShardedRows> sharded_gradients(absl::Span<Slot* const> slots);
  void reduce(absl::Span<Slot* const> slots);
  void take_reduced(absl::Span<Slot* const> slots);
  // Adds to the squares of the gradient's norm, which tell of a number that is not finite.
  void count_squares(const Slot& slot, double squares);
  // Makes updates and sends them on their way; settle() has applied them all.
  void update(absl::Span<Slot* const> slots, double gradient_scale);
  void update_bundle(absl::Span<Slot* const> slots);
  void make_update(Slot& slot);
  void apply_updates(absl::Span<Slot* const> slots);
  // Applies the updates that are under way.
  void settle();
  // Whether other ranks need this rank's rows of the update.
  bool travels(const Slot& slot) const;
  // How a rule's update changes the weight.
  WeightUpdate weight_update(const Slot& slot, const RuleStep& step) const;
  void apply(const Slot& slot, const Tensor& update, const WeightUpdate& how);
  uint64_t rounding_seed(int parameter) const;

  // by_rows.cc
  // The shape of a range of rows, without data.
  Tensor rows_accumulator(const Slot& slot) const;

  // refresh.cc
  bool finds_basis_in_rounds(const Slot& slot) const;
  uint64_t refresh_seed(const Slot& slot) const;
  int owner_of(const Slot& slot) const;
  uint64_t round_seed(const Slot& slot) const;
  bool shards_range(const Slot& slot) const;
  void linear_in_round(Slot& slot, const Tensor& a, const Tensor& b);
  void gather_range(const Slot& slot, const Tensor& whole);
  void finish_ranges(absl::Span<Slot* const> slots);
  void finish_bases(absl::Span<Slot* const> slots);
  void draw_random_basis(Slot& slot);
  // Whether this step's basis of the slot is an exact one.
  bool refreshes_exactly(const Slot& slot) const;
  // Exact bases are searched by all ranks at the same time: so many matrices as there are ranks are collected, the sum
  // of each on a rank of its own.
  void collect_exact(Slot& slot, const Tensor& g);
  void refresh_collected();
  // Refreshes from this rank's part of the dense gradient, or with an exact basis from its sum, of which the owner has
  // `found` that basis, and leaves this rank's part of R in the accumulator.
  void project(Slot& slot, RowBands& g, const Tensor& found);
  // False: the gradient held a number that is not finite. What the accumulator holds afterwards is of no use.
  bool refresh(Slot& slot, RowBands& g, const Tensor& found);
  void take_basis(Slot& slot, const Tensor& basis, const Tensor& rows);
  void pace_next(Slot& slot, double overlap);
  void estimate(Slot& slot, RowBands& g);

  OptimizerOptions options_;
  std::vector<Parameter>& parameters_;
  Device& device_;
  Communicator& communicator_;
  int64_t micro_batches_;
  int projected_count_ = 0;
  std::vector<Slot> slots_;
  int64_t bundle_bytes_ = 0;    // of gradients that wait for their reduction
  Stage stage_;                 // see staged()
  std::vector<Slot*> pending_;  // finished, not reduced yet
  int64_t pending_bytes_ = 0;
  std::vector<Slot*> in_flight_;  // whose reduction is under way
  Tensor flight_memory_;
  std::vector<Slot*> settling_;     // whose updates are under way
  int64_t gather_ = 0;              // their ticket
  double gradient_scale_ = 1.0;     // of the updates that are made
  Tensor dense_scratch_;            // one dense gradient from linear() to finished(), or a band of one
  Tensor collected_dense_;          // the sum of one, whose exact basis this rank searches
  std::vector<Slot*> collected_;    // that wait for their exact bases, by owner
  std::vector<Tensor> dense_held_;  // dense gradients that are accumulated over micro-batches, lent to due matrices
  std::vector<int> dense_lent_to_;
  int64_t step_ = 0;
  int64_t micro_batch_ = 0;
  int round_ = -1;                           // of the search for first bases; -1: a step
  std::unique_ptr<Workspace> round_memory_;  // fp32 numbers of bases that are kept in another type
  double squares_ = 0;                       // of own rows after the reduction, or of dense gradients
  int not_finite_ = -1;                      // the parameter nearest to the loss whose squares are not finite
  StepReport report_;
};

}  // namespace galleon

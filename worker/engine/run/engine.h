// Everything that one rank holds: weights, optimizer, activations, workspace. It is built by the same code on a device
// that executes and on one that only counts, which is what makes the plan exact.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/model/model.h"
#include "worker/engine/optim/optimizer.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

struct EngineShape {
  ModelConfig config;
  OptimizerOptions optimizer;
  int64_t sequence_length = 0;
  int64_t micro_batch = 0;    // sequences a pass
  int64_t micro_batches = 0;  // passes of one rank in a step
  bool recompute = false;     // keep block inputs alone, and compute the rest of a block again in the backward
  int64_t kept_inputs = 0;    // then: how many of them, the others being computed again as well; 0: all
  WeightStorage weights;
  double z_loss = 0;
  uint64_t dropout_seed = 42;  // of the model's own dropout
};

// Passes of one rank: global_batch / (micro_batch · ranks). INVALID_ARGUMENT if that is not a whole number.
absl::StatusOr<int64_t> micro_batches_per_rank(int64_t global_batch, int64_t micro_batch, int64_t ranks);

// What a caller does in the middle of a step.
struct StepHooks {
  // Before the rounds that find first bases, and with 0 when they are over; not called where there are none.
  std::function<void(int rounds)> searching;
  // After the backward, with the sum of this rank's losses. false: no weight is to change in this step (with per-layer
  // update some have changed already). Ranks must agree.
  std::function<bool(double loss)> before_update;
};

struct StepResult {
  double loss = 0;  // the sum over this rank's targets, before the update
  bool updated = false;
  StepReport report;
};

class Engine {
 public:
  // Allocates by shape, the workspace too, whose size a dry run on a planning device gives. RESOURCE_EXHAUSTED: the
  // device's limit or memory.
  static absl::StatusOr<std::unique_ptr<Engine>> create(const EngineShape& shape, Device& device,
                                                        Communicator& communicator);

  const EngineShape& shape() const { return shape_; }
  Device& device() { return device_; }
  const Device& device() const { return device_; }
  const Ledger& ledger() const { return device_.ledger(); }
  // All of the model, adapters included.
  std::vector<Parameter>& parameters() { return parameters_; }
  WeightView& weights() { return *weights_; }
  Optimizer& optimizer() { return *optimizer_; }
  Model& model() { return *model_; }

  // One update, the `number`-th: rounds for first bases where some are missing, the passes of this rank (micro_batches
  // of them), and the update. scale: 1 / targets of the global batch that count. A collective.
  StepResult step(int64_t number, absl::Span<const Batch> passes, float scale, const StepHooks& hooks = {});

 private:
  // Forward and backward of all passes; the sum of their losses.
  double accumulate(absl::Span<const Batch> passes, float scale);
  Engine(const EngineShape& shape, Device& device) : shape_(shape), device_(device), arena_(device) {}
  static absl::StatusOr<std::unique_ptr<Engine>> allocate(const EngineShape& shape, Device& device,
                                                          Communicator& communicator);
  friend class DryRun;

  EngineShape shape_;
  Device& device_;
  int rank_ = 0;
  int ranks_ = 1;
  Arena arena_;
  std::vector<Parameter> parameters_;
  std::vector<Parameter> trained_;  // as the optimizer knows them
  std::unique_ptr<WeightView> weights_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Model> model_;
};

// What a dry run of one rank tells.
struct RankEstimate {
  int64_t by_category[kMemoryCategories] = {};
  int64_t peak_bytes = 0;
  int64_t workspace_bytes = 0;
  int64_t interval = 1;      // steps between two refreshes of a matrix
  int64_t refreshing = 0;    // of these, how many have a refresh
  SentBytes sent_step;       // a step without one, where there is one
  SentBytes sent_refreshes;  // all with one together
  double step_flops = 0;     // of this rank, refresh excluded
  // By kind, where a clock was given: of a step without a refresh, and of all steps of an interval.
  double step_seconds[kWorkKinds] = {};
  double interval_seconds[kWorkKinds] = {};

  // Of a step of an interval, rounded to whole bytes.
  SentBytes sent_mean() const;
};

// How long a machine takes for an operation.
using WorkClock = std::function<double(const Work&)>;

// Runs the engine on a planning device. A step may have a million passes, and all but the first and the last are alike:
// at most so many are walked.
absl::StatusOr<RankEstimate> dry_run(const EngineShape& shape, absl::string_view device_kind, int rank, int ranks,
                                     const WorkClock& clock = nullptr, int64_t walked_passes = 8);

}  // namespace galleon

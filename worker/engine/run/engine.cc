#include "worker/engine/run/engine.h"

#include <algorithm>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/model/lora.h"
#include "worker/engine/model/model_parameters.h"
#include "worker/engine/optim/rules.h"
#include "worker/engine/ranks/gathered_weights.h"

namespace galleon {

absl::StatusOr<int64_t> micro_batches_per_rank(int64_t global_batch, int64_t micro_batch, int64_t ranks) {
  const int64_t pass = micro_batch * ranks;
  if (pass <= 0 || global_batch % pass != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "training.global_batch ", global_batch, " is not a multiple of training.micro_batch ", micro_batch,
        " times parallel.ranks ", ranks, "; ", (global_batch / std::max<int64_t>(pass, 1) + 1) * pass, " would be"));
  }
  return global_batch / pass;
}

namespace {

// The gradients of a vocabulary's matrices are the largest of all: where nothing needs them whole, they are never
// whole. The head's then needs the gradients of all logits at once, which must take less.
void choose_updated_by_rows(const EngineShape& shape, int ranks, std::vector<Parameter>& parameters) {
  const ModelConfig& config = shape.config;
  if (config.encoder() || config.tied_embeddings) return;
  if (!Method(shape.optimizer, shape.micro_batches, ranks).updates_by_rows()) return;
  const int64_t tokens = shape.micro_batch * shape.sequence_length;
  const int64_t whole = config.vocabulary * config.hidden * bytes_of(DataType::kFloat32);
  const int64_t of_logits = tokens * config.vocabulary * bytes_of(shape.weights.type);
  const bool smaller = whole > 2 * shape.optimizer.piece_bytes && of_logits <= whole / 4 * 3;
  for (Parameter& p : parameters) {
    const bool over_vocabulary = p.group == ParameterGroup::kEmbedding || p.group == ParameterGroup::kHead;
    p.by_rows = smaller && over_vocabulary && p.trained >= 0;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::allocate(const EngineShape& shape, Device& device,
                                                         Communicator& communicator) {
  std::unique_ptr<Engine> engine(new Engine(shape, device));
  engine->rank_ = communicator.rank();
  engine->ranks_ = communicator.ranks();
  engine->parameters_ = model_parameters(shape.config, shape.optimizer.galore);
  if (shape.optimizer.lora.has_value()) add_adapters(engine->parameters_, *shape.optimizer.lora);
  lay_out_for_rules(shape.optimizer, engine->ranks_, engine->parameters_);
  cut_weights(shape.optimizer, engine->rank_, engine->ranks_, engine->parameters_);
  choose_updated_by_rows(shape, engine->ranks_, engine->parameters_);
  allocate_weights(engine->parameters_, shape.weights, engine->arena_);
  engine->trained_ = trained_parameters(engine->parameters_);
  engine->optimizer_ =
      std::make_unique<Optimizer>(shape.optimizer, engine->trained_, shape.micro_batches, engine->arena_, communicator);
  engine->model_ = make_model(shape.config, engine->parameters_, shape.micro_batch, shape.sequence_length,
                              shape.recompute ? Activations::kBlockInputs : Activations::kAll, engine->arena_,
                              shape.optimizer.lora, shape.kept_inputs);
  engine->weights_ = make_weight_view(engine->parameters_, communicator, engine->arena_);
  engine->model_->use_weights(*engine->weights_);
  engine->model_->use_z_loss(shape.z_loss);
  if (!engine->arena_.status().ok()) return engine->arena_.status();
  return engine;
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::create(const EngineShape& shape, Device& device,
                                                       Communicator& communicator) {
  absl::StatusOr<RankEstimate> estimate = dry_run(shape, device.kind(), communicator.rank(), communicator.ranks());
  if (!estimate.ok()) return estimate.status();
  absl::StatusOr<std::unique_ptr<Engine>> engine = allocate(shape, device, communicator);
  if (!engine.ok()) return engine.status();
  RETURN_IF_ERROR(device.set_workspace_budget(estimate->workspace_bytes));
  return engine;
}

StepResult Engine::step(int64_t number, absl::Span<const Batch> passes, float scale, const StepHooks& hooks) {
  GALLEON_CHECK_EQ(static_cast<int64_t>(passes.size()), shape_.micro_batches);
  optimizer_->begin_step(number);
  const int rounds = optimizer_->first_basis_rounds();
  if (rounds > 0 && hooks.searching) hooks.searching(rounds);
  for (int round = 0; round < rounds; ++round) {
    optimizer_->begin_round(round);
    accumulate(passes, scale);
    optimizer_->end_round();
  }
  if (rounds > 0 && hooks.searching) hooks.searching(0);
  StepResult result;
  result.loss = accumulate(passes, scale);
  if (hooks.before_update && !hooks.before_update(result.loss)) return result;
  result.report = optimizer_->end_step();
  result.updated = true;
  return result;
}

double Engine::accumulate(absl::Span<const Batch> passes, float scale) {
  double loss = 0;
  for (size_t i = 0; i < passes.size(); ++i) {
    optimizer_->begin_micro_batch(static_cast<int64_t>(i));
    // Sequences of the step lie one after the other, a pass of each rank in turn.
    const int64_t pass = static_cast<int64_t>(i) * ranks_ + rank_;
    loss += model_->forward_backward(
        passes[i], scale, *optimizer_,
        {optimizer_->step(), pass * shape_.micro_batch * shape_.sequence_length, shape_.dropout_seed});
  }
  return loss;
}

// Steps of an engine whose device only counts.
class DryRun {
 public:
  DryRun(const EngineShape& shape, absl::string_view kind, int rank, int ranks)
      : shape_(shape),
        device_(make_planning_device(kind)),
        communicator_(make_planning_communicator(*device_, rank, ranks)) {
    Batch batch;
    batch.sequences = shape.micro_batch;
    batch.length = shape.sequence_length;
    passes_.assign(static_cast<size_t>(shape.micro_batches), batch);
  }

  absl::Status prepare() {
    ASSIGN_OR_RETURN(engine_, Engine::allocate(shape_, *device_, *communicator_));
    initialize_weights(engine_->parameters(), *device_, 0, 1.0);
    if (shape_.optimizer.lora.has_value()) {
      WeightCursor cursor(engine_->weights());
      for (const Parameter& p : engine_->parameters()) {
        cursor.visit(p.index);
        merged_weight(p, engine_->parameters(), *shape_.optimizer.lora, *device_);
      }
    }
    hash_weights(engine_->parameters(), *device_, engine_->weights());
    engine_->model().forward_loss(passes_.front());
    return absl::OkStatus();
  }

  // Bytes sent and work done by one step.
  SentBytes step(int64_t number) {
    const SentBytes before = communicator_->sent();
    engine_->step(number, passes_, 1.0F);
    return communicator_->sent() - before;
  }

  int64_t interval() const { return engine_->optimizer().refresh_interval(); }
  // Of the interval that begins with the second step, those with a refresh.
  std::vector<int64_t> refreshes() const { return engine_->optimizer().refreshes(2); }

  Device& device() { return *device_; }

 private:
  EngineShape shape_;
  std::vector<Batch> passes_;  // sizes alone
  std::unique_ptr<Device> device_;
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<Engine> engine_;
};

SentBytes RankEstimate::sent_mean() const {
  SentBytes mean;
  for (int i = 0; i < kCollectives; ++i) {
    for (int j = 0; j < kContents; ++j) {
      // An interval may have billions of steps.
      const absl::int128 sum =
          sent_refreshes.bytes[i][j] + absl::int128(sent_step.bytes[i][j]) * (interval - refreshing);
      mean.bytes[i][j] = static_cast<int64_t>((sum + interval / 2) / interval);
    }
  }
  return mean;
}

namespace {

absl::StatusOr<RankEstimate> walk(const EngineShape& shape, absl::string_view device_kind, int rank, int ranks,
                                  const WorkClock& clock) {
  DryRun run(shape, device_kind, rank, ranks);
  RETURN_IF_ERROR(run.prepare());
  RankEstimate estimate;
  double seconds[kWorkKinds] = {};
  if (clock) {
    run.device().watch_work([&](const Work& work) { seconds[static_cast<int>(work.kind)] += clock(work); });
  }
  run.step(1);
  // A step with a refresh of every matrix that a later step refreshes, so that each shape's workspace is seen.
  estimate.interval = run.interval();
  const std::vector<int64_t> refreshes = run.refreshes();
  int64_t plain = 2;
  for (const int64_t step : refreshes) {
    if (step != plain) break;
    ++plain;
  }
  if (plain > estimate.interval + 1) plain = 2;
  run.device().work() = WorkCounters{};
  std::fill(std::begin(seconds), std::end(seconds), 0.0);
  estimate.sent_step = run.step(plain);
  estimate.step_flops = run.device().work().flops;
  std::copy(std::begin(seconds), std::end(seconds), estimate.step_seconds);
  // Steps without a refresh are alike.
  std::fill(std::begin(seconds), std::end(seconds), 0.0);
  for (const int64_t step : refreshes) estimate.sent_refreshes += run.step(step);
  estimate.refreshing = static_cast<int64_t>(refreshes.size());
  const auto quiet = static_cast<double>(estimate.interval - estimate.refreshing);
  for (int kind = 0; kind < kWorkKinds; ++kind)
    estimate.interval_seconds[kind] = seconds[kind] + quiet * estimate.step_seconds[kind];
  estimate.workspace_bytes = run.device().workspace_peak();
  RETURN_IF_ERROR(run.device().set_workspace_budget(estimate.workspace_bytes));
  for (int i = 0; i < kMemoryCategories; ++i)
    estimate.by_category[i] = run.device().ledger().bytes(static_cast<MemoryCategory>(i));
  estimate.peak_bytes = run.device().ledger().peak();
  return estimate;
}

// Of a step of so many passes as the second walk had, of what each pass more adds to the first.
template <typename T>
T further(T fewer, T more, int64_t passes) {
  return more + static_cast<T>(passes) * (more - fewer);
}

SentBytes further(const SentBytes& fewer, const SentBytes& more, int64_t passes) {
  SentBytes sent;
  for (int i = 0; i < kCollectives; ++i) {
    for (int j = 0; j < kContents; ++j) sent.bytes[i][j] = further(fewer.bytes[i][j], more.bytes[i][j], passes);
  }
  return sent;
}

}  // namespace

absl::StatusOr<RankEstimate> dry_run(const EngineShape& shape, absl::string_view device_kind, int rank, int ranks,
                                     const WorkClock& clock, int64_t walked_passes) {
  if (shape.micro_batches <= walked_passes) return walk(shape, device_kind, rank, ranks, clock);
  EngineShape shorter = shape;
  shorter.micro_batches = walked_passes - 1;
  ASSIGN_OR_RETURN(const RankEstimate fewer, walk(shorter, device_kind, rank, ranks, clock));
  shorter.micro_batches = walked_passes;
  ASSIGN_OR_RETURN(RankEstimate estimate, walk(shorter, device_kind, rank, ranks, clock));
  const int64_t passes = shape.micro_batches - walked_passes;
  estimate.sent_step = further(fewer.sent_step, estimate.sent_step, passes);
  estimate.sent_refreshes = further(fewer.sent_refreshes, estimate.sent_refreshes, passes);
  estimate.step_flops = further(fewer.step_flops, estimate.step_flops, passes);
  for (int kind = 0; kind < kWorkKinds; ++kind) {
    estimate.step_seconds[kind] = further(fewer.step_seconds[kind], estimate.step_seconds[kind], passes);
    estimate.interval_seconds[kind] = further(fewer.interval_seconds[kind], estimate.interval_seconds[kind], passes);
  }
  return estimate;
}

}  // namespace galleon

#include "worker/engine/run/training.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/data/token_source.h"
#include "worker/engine/model/lora.h"
#include "worker/engine/run/finite.h"
#include "worker/engine/run/resume.h"

namespace galleon {

namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

uint64_t hash_tokens(const std::vector<int32_t>& tokens) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const int32_t t : tokens) hash = (hash ^ static_cast<uint32_t>(t)) * 0x100000001B3ULL;
  return hash;
}

// One run of one rank. The order of its members is the order in which they come to be.
class Training {
 public:
  Training(RunOptions options, ResolvedJob& job, Device& device, Communicator& communicator, const RunContext& context,
           RunObserver& observer)
      : options_(std::move(options)),
        job_(job),
        device_(device),
        communicator_(communicator),
        context_(context),
        observer_(observer) {}

  absl::StatusOr<RunResult> run() {
    if (absl::Status s = load_data(); !s.ok()) return s;
    if (absl::Status s = derive_lengths(); !s.ok()) return s;
    if (absl::Status s = allocate(); !s.ok()) return s;
    if (absl::Status s = start_or_resume(); !s.ok()) return s;
    return train();
  }

 private:
  absl::Status load_data() {
    observer_.stage("tokenize", absl::StrCat("data.train: ", options_.data.train.size() == 1
                                                                 ? options_.data.train[0]
                                                                 : absl::StrCat(options_.data.train.size(), " globs")));
    absl::StatusOr<std::vector<int32_t>> tokens =
        load_tokens(options_.data, options_.data.train, "data.train", job_.tokenizer.get(), job_.config.vocabulary);
    if (!tokens.ok()) return tokens.status();
    absl::StrAppend(&options_.mathematics, "data.train tokens: ", tokens->size(), " with hash ",
                    absl::Hex(hash_tokens(*tokens)), "\n");
    absl::StatusOr<Windows> train = Windows::create(*std::move(tokens), options_.data.sequence_length,
                                                    options_.data.shuffle, options_.data.seed, "data.train");
    if (!train.ok()) return train.status();
    train_ = *std::move(train);
    if (options_.data.validation.empty()) return absl::OkStatus();
    tokens = load_tokens(options_.data, options_.data.validation, "data.validation", job_.tokenizer.get(),
                         job_.config.vocabulary);
    if (!tokens.ok()) return tokens.status();
    absl::StatusOr<Windows> validation =
        Windows::create(*std::move(tokens), options_.data.sequence_length, false, 0, "data.validation");
    if (!validation.ok()) return validation.status();
    validation_ = *std::move(validation);
    return absl::OkStatus();
  }

  // What depends on the size of the data: steps of so many epochs, and with them the schedule.
  absl::Status derive_lengths() {
    if (options_.steps == 0) {
      const double windows = options_.epochs * static_cast<double>(train_->count());
      options_.steps = std::max<int64_t>(1, std::llround(windows / static_cast<double>(options_.global_batch)));
    }
    ScheduleOptions& schedule = options_.optimizer.schedule;
    schedule.steps = options_.schedule_steps.value_or(options_.steps);
    schedule.warmup_steps = options_.warmup_steps.value_or(schedule.steps / 10);
    return absl::OkStatus();
  }

  absl::Status allocate() {
    observer_.stage("allocate", absl::StrCat("weights, optimizer state and activations of ", job_.config.parameters(),
                                             " parameters"));
    absl::StatusOr<EngineShape> shape = engine_shape(options_, job_.config, communicator_.ranks());
    if (!shape.ok()) return shape.status();
    absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::create(*shape, device_, communicator_);
    if (!engine.ok()) return engine.status();
    engine_ = *std::move(engine);
    observer_.allocated(*engine_);
    batch_.sequences = shape->micro_batch;
    batch_.length = shape->sequence_length;
    batch_.ids.resize(batch_.sequences * batch_.length);
    batch_.targets.resize(batch_.ids.size());
    int64_t numbers = 0;
    for (const Parameter& p : engine_->parameters()) numbers += p.of_adapter ? 0 : p.out * p.in;
    dense_bytes_ = 2 * (communicator_.ranks() - 1) * numbers * 4 / communicator_.ranks();
    return absl::OkStatus();
  }

  CheckpointContent content() {
    return {job_.config,
            engine_->parameters(),
            device_,
            engine_->optimizer(),
            job_.tokenizer ? job_.tokenizer->files() : std::vector<std::string>{},
            options_.optimizer.lora,
            engine_->weights()};
  }

  absl::Status start_or_resume() {
    absl::StatusOr<std::optional<ResumeChoice>> choice = choose_checkpoint(options_, context_.resume, communicator_);
    if (!choice.ok()) return choice.status();
    if (choice->has_value()) {
      const ResumeChoice& found = **choice;
      observer_.stage("resume", absl::StrCat("continuing from step ", found.header.step, " (", found.folder, ")",
                                             found.skipped.empty() ? "" : absl::StrCat("; ", found.skipped)));
      const absl::Status loaded = load_checkpoint(found.folder, found.header, content());
      if (absl::Status s = agree(loaded); !s.ok()) return s;
      if (absl::Status s = check_loaded_weights(found.folder, found.header, content()); !s.ok()) return s;
      step_ = found.header.step;
      tokens_ = found.header.tokens;
      seconds_ = found.header.seconds;
      if (step_ > options_.steps) {
        return absl::FailedPreconditionError(
            absl::StrCat("the checkpoint is at step ", step_, ", beyond training.steps ", options_.steps));
      }
    } else {
      observer_.stage("initialise", options_.model.pretrained ? absl::StrCat("weights of ", options_.model.source)
                                                              : "random weights");
      if (options_.model.pretrained) {
        // The classifier of an encoder may be new: what the folder does not have begins at random.
        std::vector<std::string> fresh;
        const bool encoder = job_.config.encoder();
        if (encoder)
          initialize_weights(engine_->parameters(), device_, options_.model.seed, job_.config.initializer_range);
        const absl::Status loaded =
            load_weights(options_.model.source, engine_->parameters(), device_, encoder ? &fresh : nullptr);
        if (absl::Status s = agree(loaded); !s.ok()) return s;
        if (!fresh.empty()) observer_.stage("initialise", absl::StrCat("random ", absl::StrJoin(fresh, ", ")));
      } else {
        initialize_weights(engine_->parameters(), device_, options_.model.seed, job_.config.initializer_range);
      }
      if (options_.optimizer.lora.has_value())
        initialize_adapters(engine_->parameters(), device_, options_.optimizer.lora->seed);
    }
    if (communicator_.rank() != 0) return absl::OkStatus();
    absl::StatusOr<MetricsFile> file = MetricsFile::open(context_.metrics_path, step_);
    if (!file.ok()) return file.status();
    metrics_ = *std::move(file);
    return absl::OkStatus();
  }

  // The first error of any rank, on all of them.
  absl::Status agree(const absl::Status& own) {
    const std::vector<std::string> all =
        communicator_.all_gather_text(own.ok() ? "" : absl::StrCat(static_cast<int>(own.code()), " ", own.message()));
    if (!own.ok()) return own;
    if (!communicator_.status().ok()) return communicator_.status();
    for (size_t rank = 0; rank < all.size(); ++rank) {
      if (!all[rank].empty())
        return absl::UnavailableError(
            absl::StrCat("rank ", rank, " failed: ", all[rank].substr(all[rank].find(' ') + 1)));
    }
    return absl::OkStatus();
  }

  // Fills the inputs and targets of one pass and returns how many sequences of it count. Pass `index` of all passes of
  // a step.
  void fill_pass(int64_t step, int64_t index) {
    const int64_t length = options_.data.sequence_length;
    const int64_t first = (step - 1) * options_.global_batch + index * options_.micro_batch;
    for (int64_t s = 0; s < options_.micro_batch; ++s)
      train_->training_window(first + s, batch_.ids.data() + s * length, batch_.targets.data() + s * length);
  }

  // One update. Returns the mean loss over the global batch, and whether some rank wants to stop.
  absl::StatusOr<StepReport> step(double& loss, std::optional<std::string>& stop) {
    const int64_t passes = engine_->shape().micro_batches;
    const double targets =
        static_cast<double>(options_.global_batch) * static_cast<double>(options_.data.sequence_length);
    Optimizer& optimizer = engine_->optimizer();
    optimizer.begin_step(step_);
    double own_loss = 0;
    auto run_passes = [&] {
      own_loss = 0;
      for (int64_t pass = 0; pass < passes; ++pass) {
        fill_pass(step_, pass * communicator_.ranks() + communicator_.rank());
        own_loss += engine_->micro_batch(pass, batch_, static_cast<float>(1.0 / targets));
      }
    };
    const int rounds = optimizer.first_basis_rounds();
    if (rounds > 0)
      observer_.stage("subspaces", absl::StrCat("first bases from ", rounds, " rounds over the first step"));
    for (int round = 0; round < rounds; ++round) {
      optimizer.begin_round(round);
      run_passes();
      optimizer.end_round();
    }
    if (rounds > 0) observer_.stage("train", "");
    run_passes();
    stop = observer_.stop_requested();
    // Loss, stop, and by rank the seconds that it has waited for others.
    std::vector<double> sums(2 + communicator_.ranks(), 0.0);
    sums[0] = own_loss;
    sums[1] = stop.has_value() ? 1.0 : 0.0;
    sums[2 + communicator_.rank()] = communicator_.waited_seconds();
    communicator_.all_reduce_host(sums);
    waited_.assign(sums.begin() + 2, sums.end());
    if (!communicator_.status().ok()) return communicator_.status();
    loss = sums[0] / targets;
    if (sums[1] > 0 && !stop.has_value()) stop = "another rank was asked to stop";
    // The sum is the same on all ranks, and so are the weights: each comes to this verdict by itself.
    if (!std::isfinite(loss)) return diverged(absl::StrCat("the loss is not finite (", loss, ")"), blame());
    const StepReport report = optimizer.end_step();
    if (!communicator_.status().ok()) return communicator_.status();
    if (!report.not_finite.empty())
      return diverged(absl::StrCat("the gradient of ", report.not_finite, " is not finite"), "");
    return report;
  }

  // Weights that a bad loss may come from.
  std::string blame() {
    const std::string bad = weight_not_finite(engine_->parameters(), device_, communicator_);
    if (!bad.empty()) return absl::StrCat(bad, " holds a number that is not finite");
    return absl::StrCat("all weights are finite, the largest being those of ",
                        largest_weight(engine_->parameters(), device_, communicator_));
  }

  // What ends a run whose numbers are not finite. It would happen again: a resumed run computes the same.
  absl::Status diverged(const std::string& what, const std::string& cause) const {
    return absl::FailedPreconditionError(
        absl::StrCat(what, " in step ", step_, cause.empty() ? "" : absl::StrCat(" (", cause, ")"),
                     "; the last good checkpoint is ", last_saved_ > 0 ? absl::StrCat("step ", last_saved_) : "none",
                     "; try a lower optimizer.learning_rate or optimizer.clip_norm"));
  }

  void log(const StepReport& report, double loss, double step_seconds) {
    interval_tokens_ += options_.global_batch * options_.data.sequence_length;
    interval_seconds_ += step_seconds;
    refresh_seconds_ += report.refresh_seconds;
    overlap_sum_ += report.overlap_sum;
    overlaps_ += report.overlaps;
    energy_sum_ += report.energy_sum;
    energies_ += report.energies;
    refreshed_ += report.refreshed;
    skipped_ += report.skipped_refreshes;
    const bool last = step_ == options_.steps;
    if (step_ != 1 && step_ % options_.log_every != 0 && !last) return;
    StepLine line;
    line.step = step_;
    line.loss = loss;
    line.learning_rate = report.learning_rate;
    line.grad_norm = report.grad_norm;
    line.tokens = tokens_;
    line.seconds = seconds_;
    line.tokens_per_second = static_cast<double>(interval_tokens_) / std::max(interval_seconds_, 1e-9);
    for (int i = 0; i < kMemoryCategories; ++i) line.memory[i] = device_.ledger().bytes(static_cast<MemoryCategory>(i));
    line.memory_peak = device_.ledger().peak();
    line.sent = communicator_.sent() - sent_before_;
    line.dense_bytes = dense_bytes_;
    line.total_steps = options_.steps;
    line.refresh_seconds = refresh_seconds_;
    if (overlaps_ > 0) last_overlap_ = overlap_sum_ / static_cast<double>(overlaps_);
    line.subspace_overlap = last_overlap_;
    if (energies_ > 0) last_energy_ = energy_sum_ / static_cast<double>(energies_);
    line.captured_energy = last_energy_;
    line.refreshed = refreshed_;
    line.skipped_refreshes = skipped_;
    if (communicator_.ranks() > 1) {
      waited_before_.resize(waited_.size(), 0.0);
      for (size_t i = 0; i < waited_.size(); ++i) line.waited_seconds.push_back(waited_[i] - waited_before_[i]);
      waited_before_ = waited_;
    }
    line.sent_total = communicator_.sent();
    line.attempt_steps = step_ - first_step_;
    line.dense_total_bytes = dense_bytes_ * line.attempt_steps;
    line.refresh_seconds_total = refresh_seconds_total_ += refresh_seconds_;
    interval_tokens_ = 0;
    interval_seconds_ = refresh_seconds_ = overlap_sum_ = energy_sum_ = 0;
    overlaps_ = energies_ = refreshed_ = 0;
    if (metrics_.has_value()) metrics_status_.Update(metrics_->append(line));
    observer_.logged(line);
  }

  absl::Status evaluate() {
    observer_.stage("evaluate", absl::StrCat("step ", step_));
    int64_t windows = validation_->count();
    if (options_.evaluate_tokens > 0) {
      windows = std::min(
          windows, (options_.evaluate_tokens + options_.data.sequence_length - 1) / options_.data.sequence_length);
    }
    result_.evaluation = evaluate_windows(engine_->model(), *validation_, windows, communicator_, step_);
    if (!communicator_.status().ok()) return communicator_.status();
    const double loss = result_.evaluation->validation_loss;
    if (!std::isfinite(loss)) return diverged(absl::StrCat("the validation loss is not finite (", loss, ")"), blame());
    if (metrics_.has_value()) metrics_status_.Update(metrics_->append(*result_.evaluation));
    observer_.evaluated(*result_.evaluation);
    observer_.stage("train", "");
    return metrics_status_;
  }

  absl::Status save() {
    observer_.stage("save", absl::StrCat("checkpoint at step ", step_));
    const std::string bad = first_not_finite(engine_->parameters(), engine_->optimizer(), device_, communicator_);
    if (!communicator_.status().ok()) return communicator_.status();
    if (!bad.empty()) return diverged(absl::StrCat(bad, " holds a number that is not finite"), "");
    CheckpointHeader header;
    header.job = options_.name;
    header.mathematics = options_.mathematics;
    header.step = step_;
    header.schedule_steps = options_.optimizer.schedule.steps;
    header.warmup_steps = options_.optimizer.schedule.warmup_steps;
    header.tokens = tokens_;
    header.seconds = seconds_;
    header.epoch = context_.epoch;
    const absl::Status saved = save_checkpoint(
        options_.checkpoint_folder, header, content(), communicator_,
        [this](int64_t step, const std::string& folder) { return observer_.approve_checkpoint(step, folder); });
    if (!saved.ok()) {
      return absl::Status(saved.code(),
                          absl::StrCat("the checkpoint of step ", step_, " could not be saved: ", saved.message(),
                                       last_saved_ > 0 ? absl::StrCat("; step ", last_saved_, " is kept") : ""));
    }
    last_saved_ = step_;
    if (communicator_.rank() == 0)
      prune_checkpoints(options_.checkpoint_folder, options_.checkpoint_keep, context_.epoch);
    observer_.published(step_, absl::StrCat(options_.checkpoint_folder, "/", step_folder_name(step_)));
    observer_.stage("train", "");
    return absl::OkStatus();
  }

  bool evaluation_due() const {
    return validation_.has_value() && options_.evaluate_every > 0 &&
           (step_ % options_.evaluate_every == 0 || step_ == options_.steps);
  }

  absl::StatusOr<RunResult> train() {
    observer_.stage("train", absl::StrCat(options_.steps, " steps of ",
                                          options_.global_batch * options_.data.sequence_length, " tokens"));
    last_saved_ = first_step_ = step_;
    std::optional<std::string> stop;
    double loss = 0;
    while (step_ < options_.steps && !stop.has_value()) {
      ++step_;
      sent_before_ = communicator_.sent();
      const SteadyClock::time_point start = SteadyClock::now();
      absl::StatusOr<StepReport> report = step(loss, stop);
      if (!report.ok()) return report.status();
      const double step_seconds = seconds_since(start);
      seconds_ += step_seconds;
      tokens_ += options_.global_batch * options_.data.sequence_length;
      log(*report, loss, step_seconds);
      if (!metrics_status_.ok()) return metrics_status_;
      if (evaluation_due()) {
        if (absl::Status s = evaluate(); !s.ok()) return s;
      }
      const bool due = options_.checkpoint_every > 0 && step_ % options_.checkpoint_every == 0;
      if (due || stop.has_value() || step_ == options_.steps) {
        if (absl::Status s = save(); !s.ok()) return s;
      }
    }
    result_.stopped = step_ < options_.steps;
    result_.stop_reason = stop.value_or("");
    result_.step = step_;
    result_.train_loss = loss;
    return result_;
  }

  RunOptions options_;
  ResolvedJob& job_;
  Device& device_;
  Communicator& communicator_;
  RunContext context_;
  RunObserver& observer_;

  std::optional<Windows> train_;
  std::optional<Windows> validation_;
  std::unique_ptr<Engine> engine_;
  std::optional<MetricsFile> metrics_;
  absl::Status metrics_status_;
  Batch batch_;
  int64_t dense_bytes_ = 0;

  int64_t step_ = 0;
  int64_t tokens_ = 0;
  double seconds_ = 0;
  int64_t last_saved_ = 0;
  int64_t first_step_ = 0;
  double refresh_seconds_total_ = 0;
  SentBytes sent_before_;
  std::vector<double> waited_;         // by rank, since the run began, as of the newest step
  std::vector<double> waited_before_;  // the same at the last logged step
  // Since the last logged step.
  int64_t interval_tokens_ = 0;
  double interval_seconds_ = 0;
  double refresh_seconds_ = 0;
  double overlap_sum_ = 0;
  int64_t overlaps_ = 0;
  double last_overlap_ = 0;
  double energy_sum_ = 0;
  int64_t energies_ = 0;
  double last_energy_ = 0;
  int64_t refreshed_ = 0;
  int64_t skipped_ = 0;
  RunResult result_;
};

}  // namespace

absl::StatusOr<ResolvedJob> resolve_job(const RunOptions& options) {
  ResolvedJob job;
  if (!options.tokenizer.empty()) {
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(options.tokenizer);
    if (!tokenizer.ok()) return tokenizer.status();
    job.tokenizer = *std::move(tokenizer);
  }
  const int64_t vocabulary = job.tokenizer ? job.tokenizer->vocabulary() : 0;
  absl::StatusOr<ModelConfig> config = resolve_model_config(options.model.source, options.model.overrides, vocabulary);
  if (!config.ok()) return config.status();
  job.config = *config;
  if (vocabulary > job.config.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", options.tokenizer, " has ", vocabulary,
                                                   " pieces, and the model's vocab_size is ", job.config.vocabulary));
  }
  if (job.tokenizer && job.config.eos_token < 0) {
    job.config.eos_token = job.tokenizer->end_token();
    job.config.bos_token = job.tokenizer->begin_token();
  }
  if (options.model.pretrained) {
    std::vector<std::string> fresh;
    const absl::Status found = check_weights(options.model.source, model_parameters(job.config, std::nullopt),
                                             job.config.encoder() ? &fresh : nullptr);
    if (!found.ok()) return absl::Status(found.code(), absl::StrCat("model.source: ", found.message()));
  }
  const int64_t positions = options.data.sequence_length;
  if (absl::StartsWith(options.model.source, "preset:"))
    job.config.max_positions = std::max(job.config.max_positions, positions);
  if (positions > job.config.longest_sequence()) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.sequence_length ", positions,
                     " is longer than the model's positions allow: ", job.config.longest_sequence()));
  }
  return job;
}

absl::StatusOr<EngineShape> engine_shape(const RunOptions& options, const ModelConfig& config, int64_t ranks) {
  absl::StatusOr<int64_t> passes = micro_batches_per_rank(options.global_batch, options.micro_batch, ranks);
  if (!passes.ok()) return passes.status();
  EngineShape shape;
  shape.config = config;
  shape.optimizer = options.optimizer;
  shape.weights = options.weights;
  shape.sequence_length = options.data.sequence_length;
  shape.micro_batch = options.micro_batch;
  shape.micro_batches = *passes;
  shape.recompute = options.recompute;
  shape.dropout_seed = options.model.seed;
  return shape;
}

EvaluationLine evaluate_windows(Model& model, const Windows& data, int64_t windows, Communicator& communicator,
                                int64_t step) {
  const int64_t length = model.sequence();
  Batch batch;
  batch.length = length;
  double loss = 0;
  // All ranks make as many passes, because they gather sharded weights together; one without a window takes the last.
  for (int64_t round = 0; round < windows; round += communicator.ranks() * model.batch()) {
    const int64_t first = round + communicator.rank() * model.batch();
    const int64_t counted = std::clamp<int64_t>(windows - first, 0, model.batch());
    batch.sequences = std::max<int64_t>(counted, 1);
    batch.ids.resize(batch.sequences * length);
    batch.targets.resize(batch.ids.size());
    for (int64_t s = 0; s < batch.sequences; ++s) {
      data.window(std::min(first + s, windows - 1), batch.ids.data() + s * length, batch.targets.data() + s * length);
    }
    const double more = model.forward_loss(batch);
    if (counted > 0) loss += more;
  }
  std::vector<double> sum{loss};
  communicator.all_reduce_host(sum);
  EvaluationLine line;
  line.step = step;
  line.validation_tokens = windows * length;
  line.validation_loss = sum[0] / static_cast<double>(line.validation_tokens);
  return line;
}

absl::StatusOr<RunResult> run_training(const RunOptions& options, ResolvedJob& job, Device& device,
                                       Communicator& communicator, const RunContext& context, RunObserver& observer) {
  return Training(options, job, device, communicator, context, observer).run();
}

}  // namespace galleon

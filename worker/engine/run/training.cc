#include "worker/engine/run/training.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/checkpoint/peft_adapter.h"
#include "worker/engine/data/step_feed.h"
#include "worker/engine/optim/groups.h"
#include "worker/engine/run/adapter_base.h"
#include "worker/engine/run/agreement.h"
#include "worker/engine/run/evaluation.h"
#include "worker/engine/run/finite.h"
#include "worker/engine/run/initial_weights.h"
#include "worker/engine/run/resume.h"
#include "worker/engine/run/run_checkpoints.h"
#include "worker/engine/run/run_data.h"
#include "worker/engine/run/run_records.h"
#include "worker/engine/run/shared_folder.h"
#include "worker/engine/run/step_log.h"

namespace galleon {

namespace {

using SteadyClock = std::chrono::steady_clock;

// As a reason to stop: the cache of data.train has ended in an error.
constexpr char kBadData[] = "the data cannot be read to its end";

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
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
        observer_(observer),
        checkpoints_(options_, context_.epoch, communicator_, observer_),
        data_(options_, job_, (std::filesystem::path(output_folder()) / "data").string(), context.shared_caches,
              communicator_, observer_) {}

  absl::StatusOr<RunResult> run() {
    absl::StatusOr<RunResult> result = run_to_end();
    std::string unsent = records_.end(result, communicator_.ranks(), observer_);
    if (result.ok()) result->unsent = std::move(unsent);
    return result;
  }

 private:
  absl::StatusOr<RunResult> run_to_end() {
    RETURN_IF_ERROR(
        agree(communicator_, communicator_.rank() == 0 ? records_.check(options_, context_) : absl::OkStatus()));
    RETURN_IF_ERROR(check_shared_folder(options_.checkpoint_folder, "the checkpoint directory", communicator_));
    // Tokens are made by rank 0 and read by all.
    RETURN_IF_ERROR(check_shared_folder(output_folder(), "the output folder", communicator_));
    RETURN_IF_ERROR(data_.load());
    absl::StrAppend(&options_.mathematics, "data.train content: ", data_.train().fingerprint(), "\n");
    RETURN_IF_ERROR(derive_lengths());
    RETURN_IF_ERROR(allocate());
    RETURN_IF_ERROR(start_or_resume());
    RETURN_IF_ERROR(checkpoints_.start(step_));
    ASSIGN_OR_RETURN(RunResult result, train());
    RETURN_IF_ERROR(checkpoints_.finish_copies());
    if (!result.stopped) RETURN_IF_ERROR(records_.finish());
    return result;
  }

  std::string output_folder() const { return std::filesystem::path(context_.metrics_path).parent_path().string(); }

  // What depends on the size of the data: steps of so many epochs, and with them the schedule.
  absl::Status derive_lengths() {
    if (options_.steps == 0) {
      ASSIGN_OR_RETURN(options_.steps, data_.count_steps());
    }
    ScheduleOptions& schedule = options_.optimizer.schedule;
    schedule.steps = options_.schedule_steps.value_or(options_.steps);
    schedule.warmup_steps = options_.warmup_steps.value_or(schedule.steps / 10);
    if (schedule.type == ScheduleType::kWsd)
      schedule.decay_steps = options_.decay_steps.value_or(std::max<int64_t>(1, schedule.steps / 10));
    return absl::OkStatus();
  }

  absl::Status allocate() {
    observer_.stage("allocate", absl::StrCat("weights, optimizer state and activations of ", job_.config.parameters(),
                                             " parameters"));
    ASSIGN_OR_RETURN(const EngineShape shape, engine_shape(options_, job_.config, communicator_.ranks()));
    ASSIGN_OR_RETURN(engine_, Engine::create(shape, device_, communicator_));
    observer_.allocated(*engine_);
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
            engine_->weights(),
            job_.chat_template,
            adapter_base_};
  }

  absl::Status start_or_resume() {
    const auto gate = [this](int64_t step, const std::string& folder) {
      return observer_.approve_checkpoint(step, folder);
    };
    ASSIGN_OR_RETURN(const std::optional<ResumeChoice> choice,
                     choose_checkpoint(options_, context_.resume, context_.epoch, gate, communicator_));
    RETURN_IF_ERROR(choice.has_value() ? resume(*choice)
                                       : initialize_model(options_, job_, *engine_, device_, communicator_, observer_));
    if (options_.optimizer.lora.has_value())
      RETURN_IF_ERROR(choose_adapter_base(choice.has_value() ? choice->folder : ""));
    if (communicator_.rank() != 0) return absl::OkStatus();
    return records_.open(options_, context_, step_);
  }

  absl::Status resume(const ResumeChoice& found) {
    observer_.stage("resume", absl::StrCat("continuing from step ", found.header.step, " (", found.folder, ")",
                                           found.skipped.empty() ? "" : absl::StrCat("; ", found.skipped)));
    RETURN_IF_ERROR(agree(communicator_, load_checkpoint(found.folder, found.header, content())));
    RETURN_IF_ERROR(check_loaded_weights(found.folder, found.header, content()));
    step_ = found.header.step;
    tokens_ = found.header.tokens;
    seconds_ = found.header.seconds;
    data_changes_ = found.header.data_changes;
    log_.resume(found.header.subspaces);
    if (const std::string change = data_change(found.header, options_); !change.empty()) {
      data_changes_.push_back(change);
      observer_.stage("resume",
                      absl::StrCat("the data has changed, as checkpoint.resume_with_changed_data allows: ", change));
    }
    if (step_ > options_.steps) {
      return absl::FailedPreconditionError(
          absl::StrCat("the checkpoint is at step ", step_, ", beyond training.steps ", options_.steps));
    }
    if (const std::optional<int64_t> seen = data_.sequences_of(step_); data_.train().mixed() && seen.has_value())
      observer_.stage("resume", absl::StrCat("the mixture goes on behind ", data_.train().describe_given(*seen)));
    return absl::OkStatus();
  }

  absl::Status choose_adapter_base(const std::string& resumed_from) {
    ASSIGN_OR_RETURN(const std::string why,
                     why_no_adapters(options_, job_, engine_->parameters(), resumed_from, communicator_));
    if (why.empty()) {
      adapter_base_ = options_.model.name();
    } else {
      observer_.stage("adapter", absl::StrCat("checkpoints hold the merged weights alone, and no ", kPeftFolder,
                                              "/ for peft: ", why));
    }
    return absl::OkStatus();
  }

  // One update. Returns the mean loss over the global batch, and whether some rank wants to stop.
  absl::StatusOr<StepReport> step(double& loss, std::optional<std::string>& stop) {
    ASSIGN_OR_RETURN(StepData data, feed_->next());
    inputs_ = data.inputs;
    const auto targets = static_cast<double>(data.targets);
    StepHooks hooks;
    hooks.searching = [this](int rounds) { tell_of_search(rounds); };
    hooks.before_update = [&](double own_loss) {
      std::optional<std::string> wanted = observer_.stop_requested();
      if (!wanted.has_value() && !data_.error().ok()) wanted = kBadData;
      stop = exchange(own_loss, targets, loss, wanted);
      return communicator_.status().ok() && std::isfinite(loss);
    };
    const StepResult result = engine_->step(step_, data.passes, static_cast<float>(1.0 / targets), hooks);
    if (!communicator_.status().ok()) return communicator_.status();
    if (!result.updated) return diverged(absl::StrCat("the loss is not finite (", loss, ")"), suspect());
    if (!result.report.not_finite.empty())
      return diverged(absl::StrCat("the gradient of ", result.report.not_finite, " is not finite"), "");
    return result.report;
  }

  void tell_of_search(int rounds) {
    if (rounds > 0) {
      observer_.stage("subspaces", absl::StrCat("first bases from ", rounds, " rounds over the first step"));
    } else {
      observer_.stage("train", "");
    }
  }

  // What ranks tell each other in every step: `loss` becomes the mean over the global batch. Returns whether some rank
  // wants to stop. The sums are the same on all ranks, and so are the weights: each comes to its verdict by itself.
  std::optional<std::string> exchange(double own_loss, double targets, double& loss, std::optional<std::string> stop) {
    // Loss, stop, ranks whose part of a checkpoint is on the disk, and by rank the seconds that it has waited for
    // others.
    std::vector<double> sums(3 + communicator_.ranks(), 0.0);
    sums[0] = own_loss;
    sums[1] = stop.has_value() ? 1.0 : 0.0;
    sums[2] = checkpoints_.flushed() ? 1.0 : 0.0;
    sums[3 + communicator_.rank()] = communicator_.waited_seconds();
    communicator_.all_reduce_host(sums);
    all_flushed_ = static_cast<int>(sums[2]) == communicator_.ranks();
    waited_.assign(sums.begin() + 3, sums.end());
    loss = sums[0] / targets;
    if (sums[1] > 0 && !stop.has_value()) stop = "another rank was asked to stop";
    return stop;
  }

  std::string suspect() { return suspected_weight(engine_->parameters(), device_, communicator_); }

  // What ends a run whose numbers are not finite. It would happen again: a resumed run computes the same. A collective,
  // as all ranks come to this verdict: the good checkpoint that is under way is kept.
  absl::Status diverged(const std::string& what, const std::string& cause) {
    const absl::Status kept = checkpoints_.under_way() ? checkpoints_.publish() : absl::OkStatus();
    absl::Status status = absl::FailedPreconditionError(
        absl::StrCat(what, " in step ", step_, cause.empty() ? "" : absl::StrCat(" (", cause, ")"),
                     kept.ok() ? "" : absl::StrCat("; ", kept.message()), "; the last good checkpoint is ",
                     checkpoints_.last_saved() > 0 ? absl::StrCat("step ", checkpoints_.last_saved()) : "none",
                     "; try a lower optimizer.learning_rate or optimizer.clip_norm"));
    status.SetPayload(kDivergedPayload, absl::Cord());
    return status;
  }

  void log(const StepReport& report, double loss, double step_seconds) {
    log_.add(report, inputs_, step_seconds);
    const bool last = step_ == options_.steps;
    if (step_ != 1 && step_ % options_.log_every != 0 && !last) return;
    StepLine line = log_.line(report, feed_->wait_seconds(), waited_);
    line.step = step_;
    line.rates = rates_beside(options_.optimizer, report.learning_rate);
    line.loss = loss;
    line.tokens = tokens_;
    line.seconds = seconds_;
    for (int i = 0; i < kMemoryCategories; ++i) line.memory[i] = device_.ledger().bytes(static_cast<MemoryCategory>(i));
    line.memory_peak = device_.ledger().peak();
    line.sent = communicator_.sent() - sent_before_;
    line.sent_total = communicator_.sent();
    line.dense_bytes = dense_bytes_;
    line.bad_rows = data_.bad_rows();
    line.total_steps = options_.steps;
    line.attempt_steps = step_ - first_step_;
    line.dense_total_bytes = dense_bytes_ * line.attempt_steps;
    records_.add(line);
    observer_.logged(line);
  }

  absl::Status evaluate() {
    observer_.stage("evaluate", absl::StrCat("step ", step_));
    absl::StatusOr<EvaluationLine> line =
        options_.data.classify ? evaluate_labels(engine_->model(), *data_.validation(), job_.labels, metrics_of_task(),
                                                 options_.evaluate_tokens, padding_, communicator_, step_)
                               : evaluate_sequences(engine_->model(), data_.validation()->store(),
                                                    options_.evaluate_tokens, padding_, communicator_, step_);
    if (!communicator_.status().ok()) return communicator_.status();
    if (!line.ok()) return line.status();
    result_.evaluation = *line;
    const double loss = result_.evaluation->validation_loss;
    if (!std::isfinite(loss))
      return diverged(absl::StrCat("the validation loss is not finite (", loss, ")"), suspect());
    records_.add(*result_.evaluation);
    observer_.evaluated(*result_.evaluation);
    observer_.stage("train", "");
    return records_.status();
  }

  std::vector<std::string> metrics_of_task() const {
    absl::StatusOr<GlueTask> task = glue_task(options_.data.glue_task);
    return task.ok() ? task->metrics : std::vector<std::string>{};
  }

  absl::Status save() {
    observer_.stage("save", absl::StrCat("checkpoint at step ", step_));
    const std::string bad = first_not_finite(engine_->parameters(), engine_->optimizer(), device_, communicator_);
    if (!communicator_.status().ok()) return communicator_.status();
    if (!bad.empty()) return diverged(absl::StrCat(bad, " holds a number that is not finite"), "");
    CheckpointHeader header;
    header.job = options_.name;
    header.mathematics = options_.mathematics;
    header.data_changes = data_changes_;
    header.step = step_;
    header.schedule_steps = options_.optimizer.schedule.steps;
    header.decay_steps = options_.optimizer.schedule.decay_steps;
    header.warmup_steps = options_.optimizer.schedule.warmup_steps;
    header.tokens = tokens_;
    header.seconds = seconds_;
    header.epoch = context_.epoch;
    header.subspaces = log_.subspaces();
    if (const std::optional<DocumentTokens> around = data_.train().around_documents())
      header.document_tokens = {around->begin, around->end};
    RETURN_IF_ERROR(checkpoints_.save(header, content()));
    observer_.stage("train", "");
    return absl::OkStatus();
  }

  // A step that got no data. Where the data has ended in an error, it has for all ranks in the same step, and what was
  // trained before is saved.
  absl::Status ended_by(const absl::Status& status) {
    if (data_.error().ok() || !communicator_.status().ok() || step_ - 1 == first_step_) return status;
    --step_;
    if (checkpoints_.under_way()) RETURN_IF_ERROR(checkpoints_.publish());
    if (checkpoints_.last_saved() < step_) {
      RETURN_IF_ERROR(save());
      RETURN_IF_ERROR(checkpoints_.publish());
    }
    return checkpoints_.saved_before(status);
  }

  bool evaluation_due() const {
    return data_.validation() != nullptr && options_.evaluate_every > 0 &&
           (step_ % options_.evaluate_every == 0 || step_ == options_.steps);
  }

  absl::StatusOr<RunResult> train() {
    data_.tell_passes(options_.steps);
    observer_.stage("train",
                    absl::StrCat(options_.steps, " steps of ", options_.global_batch, " sequences of ",
                                 options_.data.packing ? "" : "up to ", options_.data.sequence_length, " tokens"));
    FeedShape shape;
    shape.global_batch = options_.global_batch;
    shape.micro_batch = options_.micro_batch;
    shape.sequence_length = options_.data.sequence_length;
    shape.rank = communicator_.rank();
    shape.ranks = communicator_.ranks();
    shape.last_batch = options_.last_batch;
    shape.regression = options_.data.classify && job_.labels.regression;
    shape.padding = padding_ = padding_id(job_.tokenizer.get());
    feed_ = std::make_unique<StepFeed>(data_.train().order(), shape, step_ + 1, options_.steps);
    first_step_ = step_;
    std::optional<std::string> stop;
    double loss = 0;
    while (step_ < options_.steps && !stop.has_value()) {
      ++step_;
      sent_before_ = communicator_.sent();
      const SteadyClock::time_point start = SteadyClock::now();
      absl::StatusOr<StepReport> report = step(loss, stop);
      if (!report.ok()) return ended_by(report.status());
      const double step_seconds = seconds_since(start);
      seconds_ += step_seconds;
      tokens_ += inputs_;
      observer_.stepped(step_);
      log(*report, loss, step_seconds);
      const bool copied = checkpoints_.tell_of_copies();
      if ((records_.tell(observer_) || copied) && step_ < options_.steps) observer_.stage("train", "");
      RETURN_IF_ERROR(records_.status());
      if (data_.tell_passes(options_.steps)) observer_.stage("train", "");
      if (evaluation_due()) {
        RETURN_IF_ERROR(evaluate());
      }
      const bool due = options_.checkpoint_every > 0 && step_ % options_.checkpoint_every == 0;
      const bool last = stop.has_value() || step_ == options_.steps;
      if (checkpoints_.under_way() && (all_flushed_ || due || last)) RETURN_IF_ERROR(checkpoints_.publish());
      if (due || last) RETURN_IF_ERROR(save());
      if (last) RETURN_IF_ERROR(checkpoints_.publish());
    }
    // What is wrong with the data is rank 0's to tell; the others were stopped by it.
    if (stop.has_value()) {
      const absl::Status wrong = *stop == kBadData ? checkpoints_.saved_before(data_.error()) : absl::OkStatus();
      RETURN_IF_ERROR(agree(communicator_, wrong));
    }
    result_.stopped = step_ < options_.steps;
    result_.stop_reason = stop.value_or("");
    result_.step = step_;
    result_.train_loss = loss;
    result_.bad_rows = data_.bad_rows();
    return result_;
  }

  RunOptions options_;
  ResolvedJob& job_;
  Device& device_;
  Communicator& communicator_;
  RunContext context_;
  RunObserver& observer_;
  RunCheckpoints checkpoints_;
  bool all_flushed_ = false;  // as of the newest step, of the checkpoint that is under way
  RunData data_;
  std::unique_ptr<StepFeed> feed_;
  std::unique_ptr<Engine> engine_;
  std::string adapter_base_;  // CheckpointContent::adapter_base
  RunRecords records_;        // of rank 0
  int32_t padding_ = 0;
  int64_t inputs_ = 0;  // of the step, over all ranks
  int64_t dense_bytes_ = 0;

  std::vector<std::string> data_changes_;
  int64_t step_ = 0;
  int64_t tokens_ = 0;
  double seconds_ = 0;
  int64_t first_step_ = 0;
  StepLog log_;
  SentBytes sent_before_;
  std::vector<double> waited_;  // by rank, since the run began, as of the newest step
  RunResult result_;
};

}  // namespace

absl::StatusOr<RunResult> run_training(const RunOptions& options, ResolvedJob& job, Device& device,
                                       Communicator& communicator, const RunContext& context, RunObserver& observer) {
  return Training(options, job, device, communicator, context, observer).run();
}

}  // namespace galleon

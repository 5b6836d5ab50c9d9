#include "worker/trainer/events.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/bounded_text.h"
#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/frame.h"
#include "common/base/log.h"
#include "worker/trainer/memory_messages.h"

namespace galleon {

namespace {

constexpr double kBetweenBeats = 20;  // seconds

double monotonic_seconds() {
  return absl::ToDoubleSeconds(SystemClock().monotonic());
}

}  // namespace

void PipeSink::send(v1::TrainerEvent event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  event.set_sequence(++sequence_);
  event.set_time_ms(absl::ToUnixMillis(absl::Now()));
  if (fd_ >= 0 && !write_all(fd_, encode_frame(event.SerializeAsString())).ok()) fd_ = -1;
}

v1::Evaluation to_message(const EvaluationLine& line) {
  v1::Evaluation message;
  message.set_step(line.step);
  message.set_validation_loss(line.validation_loss);
  message.set_validation_tokens(line.validation_tokens);
  message.set_perplexity(line.perplexity());
  message.mutable_metrics()->insert(line.metrics.begin(), line.metrics.end());
  return message;
}

v1::StepMetrics to_message(const StepLine& line) {
  v1::StepMetrics message;
  message.set_step(line.step);
  message.set_loss(line.loss);
  message.set_learning_rate(line.learning_rate);
  message.set_grad_norm(line.grad_norm);
  message.set_tokens(line.tokens);
  message.set_seconds(line.seconds);
  message.set_tokens_per_second(line.tokens_per_second);
  set_categories(line.memory, *message.mutable_memory());
  message.set_memory_peak(line.memory_peak);
  set_wire_bytes(line.sent, *message.mutable_communication_bytes());
  message.set_communication_dense_bytes(line.dense_bytes);
  set_wire_bytes(line.sent_total, *message.mutable_communication_total());
  message.set_communication_dense_total_bytes(line.dense_total_bytes);
  message.set_refresh_seconds_total(line.refresh_seconds_total);
  message.set_attempt_steps(line.attempt_steps);
  message.set_total_steps(line.total_steps);
  message.set_refresh_seconds(line.refresh_seconds);
  message.set_subspace_overlap(line.subspace_overlap);
  message.set_captured_energy(line.captured_energy);
  message.set_refreshed(line.refreshed);
  message.mutable_waited_seconds()->Add(line.waited_seconds.begin(), line.waited_seconds.end());
  message.mutable_waited_seconds_total()->Add(line.waited_total.begin(), line.waited_total.end());
  message.set_step_seconds_total(line.step_seconds_total);
  message.set_data_wait_seconds_total(line.data_wait_seconds_total);
  message.set_skipped_refreshes(line.skipped_refreshes);
  return message;
}

EventObserver::EventObserver(EventSink& sink, int rank, int ranks)
    : sink_(sink), rank_(rank), ranks_(ranks), start_(monotonic_seconds()), told_(start_) {}

void EventObserver::stage(const std::string& name, const std::string& detail) {
  const std::string bounded = bounded_text(detail);
  v1::TrainerEvent event;
  event.mutable_stage()->set_name(name);
  event.mutable_stage()->set_detail(bounded);
  event.mutable_stage()->set_elapsed_seconds(monotonic_seconds() - start_);
  sink_.send(std::move(event));
  if (!detail.empty()) log_info(name, ": ", bounded);
}

void EventObserver::allocated(const Engine& engine) {
  v1::TrainerEvent event;
  absl::StatusOr<v1::MemoryPlan> plan =
      ledger_message(engine.shape(), engine.device().kind(), engine.ledger(), rank_, ranks_);
  if (!plan.ok()) return;
  *event.mutable_ledger() = *std::move(plan);
  sink_.send(std::move(event));
}

void EventObserver::stepped(int64_t step) {
  const double now = monotonic_seconds();
  if (now - told_ < kBetweenBeats) return;
  told_ = now;
  v1::TrainerEvent event;
  event.mutable_beat()->set_step(static_cast<uint64_t>(step));
  sink_.send(std::move(event));
}

void EventObserver::logged(const StepLine& line) {
  told_ = monotonic_seconds();
  v1::TrainerEvent event;
  *event.mutable_step() = to_message(line);
  sink_.send(std::move(event));
  std::string rates;
  for (const auto& [group, rate] : line.rates) absl::StrAppend(&rates, absl::StrFormat(", %s %.3g", group, rate));
  log_info(absl::StrFormat("step %d/%d  loss %.4f  rate %.3g%s  norm %.3g  %.0f tokens/s", line.step, line.total_steps,
                           line.loss, line.learning_rate, rates, line.grad_norm, line.tokens_per_second));
}

void EventObserver::evaluated(const EvaluationLine& line) {
  v1::TrainerEvent event;
  *event.mutable_evaluation() = to_message(line);
  sink_.send(std::move(event));
  std::string metrics;
  for (const auto& [name, value] : line.metrics) absl::StrAppend(&metrics, absl::StrFormat("  %s %.4f", name, value));
  if (metrics.empty()) metrics = absl::StrFormat("  perplexity %.2f", line.perplexity());
  log_info(absl::StrFormat("step %d  validation loss %.4f%s over %d tokens", line.step, line.validation_loss, metrics,
                           line.validation_tokens));
}

void EventObserver::published(int64_t step, const std::string& folder) {
  if (rank_ != 0) return;
  v1::TrainerEvent event;
  event.mutable_checkpoint_published()->set_step(step);
  event.mutable_checkpoint_published()->set_folder(folder);
  sink_.send(std::move(event));
  log_info("checkpoint ", folder);
}

}  // namespace galleon

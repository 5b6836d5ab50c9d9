#include "worker/daemon/kept_report.h"

#include <signal.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/base/bounded_text.h"
#include "common/base/device_failure.h"
#include "common/net/bounded_message.h"
#include "worker/daemon/supervisor.h"

namespace galleon {

namespace {

// Those of all slots together fit into a call.
constexpr size_t kLargestReport = 32 << 10;

}  // namespace

KeptReport::KeptReport(const v1::AttemptId& id, uint32_t rank) {
  *report_.mutable_id() = id;
  report_.set_rank(rank);
  report_.set_phase(v1::RankReport::LAUNCHING);
}

bool KeptReport::take(const v1::TrainerEvent& event) {
  const bool urgent = keep(event);
  bound();
  return urgent;
}

bool KeptReport::keep(const v1::TrainerEvent& event) {
  switch (event.event_case()) {
    case v1::TrainerEvent::kHello:
      if (event.hello().has_plan()) *report_.mutable_ledger() = event.hello().plan();
      return false;
    case v1::TrainerEvent::kStage:
      *report_.mutable_stage() = event.stage();
      return true;
    case v1::TrainerEvent::kBeat:
      report_.set_newest_step(event.beat().step());
      return false;
    case v1::TrainerEvent::kStep:
      *report_.mutable_progress() = event.step();
      report_.set_newest_step(event.step().step());
      return !sweep_.by_validation() && reach(event.step().step(), event.step().loss());
    case v1::TrainerEvent::kEvaluation:
      *report_.mutable_evaluation() = event.evaluation();
      return sweep_.by_validation() && reach(event.evaluation().step(), event.evaluation().validation_loss());
    case v1::TrainerEvent::kRendezvousOffer:
      report_.set_rendezvous_payload(event.rendezvous_offer().payload());
      return true;
    case v1::TrainerEvent::kFinished:
      *report_.mutable_finished() = event.finished();
      return true;
    case v1::TrainerEvent::kLedger:
      *report_.mutable_ledger() = event.ledger();
      return false;
    case v1::TrainerEvent::kCheckpointPublished:
      report_.set_checkpoint_step(event.checkpoint_published().step());
      return false;
    case v1::TrainerEvent::kCheckpointReady:
    case v1::TrainerEvent::EVENT_NOT_SET:
      return false;
  }
  return false;
}

bool KeptReport::reach(uint64_t step, double loss) {
  // They ascend, and are reached in order.
  const int known = report_.rungs_size();
  for (int i = known; i < sweep_.rungs_size() && sweep_.rungs(i) <= step; ++i) {
    v1::RungLoss& reached = *report_.add_rungs();
    reached.set_rung(sweep_.rungs(i));
    reached.set_step(step);
    reached.set_loss(loss);
  }
  return report_.rungs_size() > known;
}

void KeptReport::started() {
  report_.set_phase(v1::RankReport::RUNNING);
  ++changes_;
}

void KeptReport::refused(const std::string& why, v1::PlaceFault place, uint64_t log_bytes) {
  const bool permanent = place == v1::PLACE_FAULT_UNSPECIFIED;
  v1::Finished& finished = *report_.mutable_finished();
  finished.set_outcome(v1::Finished::FAILED);
  finished.set_message(bounded_text(why));
  finished.set_permanent(permanent);
  finished.set_place_fault(place);
  report_.set_phase(v1::RankReport::EXITED);
  report_.set_exit_code(permanent ? 2 : 1);
  report_.set_log_bytes(log_bytes);
  ++changes_;
}

void KeptReport::killed_unstarted() {
  report_.set_phase(v1::RankReport::EXITED);
  report_.set_exit_signal(SIGKILL);
  ++changes_;
}

void KeptReport::ended(const Ended& end) {
  if (end.written) report_.set_signalled_by_daemon(false);
  report_.set_phase(v1::RankReport::EXITED);
  report_.set_exit_code(end.exit.code);
  report_.set_exit_signal(end.exit.signal);
  report_.set_out_of_memory(end.out_of_memory);
  report_.set_log_bytes(end.log_bytes);
  // Messages carry UTF-8 only; a log may hold anything.
  std::string lines = end.last_lines;
  std::replace_if(
      lines.begin(), lines.end(), [](unsigned char c) { return c >= 0x80 || c == 0; }, '?');
  report_.set_last_lines(std::move(lines));
  ++changes_;
  if (end.exit.signal != 0) return;
  if (end.exit.code == kLeaseExitCode) report_.set_signalled_by_daemon(true);
  if (end.exit.code == 0 && !report_.has_finished()) {
    // Its last words were said while no daemon listened. What it published is recorded; another attempt finds it.
    report_.mutable_finished()->set_outcome(v1::Finished::STOPPED);
    report_.mutable_finished()->set_message("ended by itself while its worker was away");
    report_.mutable_finished()->set_step(report_.progress().step());
  }
  if (end.exit.code == kDeviceFailureExitCode) device_failed();
  if (end.exit.code == kTrainerDidNotStart && !report_.has_finished()) {
    v1::Finished& finished = *report_.mutable_finished();
    finished.set_outcome(v1::Finished::FAILED);
    finished.set_message("the trainer could not be started");
    finished.set_place_fault(v1::PLACE_FAULT_CERTAIN);
  }
}

void KeptReport::bound() {
  shrink_message(report_, kLargestReport);
}

// The trainer's last line says what happened to its device.
void KeptReport::device_failed() {
  report_.set_device_failed(true);
  std::string what = "its device failed";
  for (const absl::string_view line : absl::StrSplit(report_.last_lines(), '\n')) {
    if (absl::StartsWith(line, kDeviceFailurePrefix)) what = std::string(line);
  }
  // Whatever it said before is about the fault, not about the job.
  v1::Finished& finished = *report_.mutable_finished();
  finished.Clear();
  finished.set_outcome(v1::Finished::FAILED);
  finished.set_message(what);
}

}  // namespace galleon

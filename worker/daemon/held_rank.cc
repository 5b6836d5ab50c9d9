#include "worker/daemon/held_rank.h"

#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/device_failure.h"
#include "common/base/log.h"
#include "worker/daemon/input_paths.h"
#include "worker/daemon/process_group.h"
#include "worker/daemon/supervisor.h"

namespace galleon {

namespace {

constexpr char kStateFile[] = "rank.state";
constexpr size_t kLastLinesBytes = 4096;
constexpr size_t kLogChunkBytes = 256 << 10;
// With this code a trainer ends itself when its lease was not renewed.
constexpr int kLeaseExitCode = 75;
constexpr absl::Duration kConnectInterval = absl::Milliseconds(50);

std::string describe(const v1::Assignment& a) {
  return absl::StrCat("job ", a.id().job_id(), " attempt ", a.id().attempt(), " rank ", a.rank());
}

}  // namespace

std::string HeldRank::key(const v1::AttemptId& id, uint32_t rank) {
  return absl::StrCat(id.job_id(), ".", id.attempt(), ".", rank);
}

HeldRank::HeldRank(std::string folder, const RankOptions& options, LogPosition position)
    : folder_(std::move(folder)), options_(options), log_("", position, options.spool_bytes) {}

std::string HeldRank::log_path() const {
  return absl::StrCat(folder_, "/rank-", assignment_.rank(), ".log");
}

std::unique_ptr<HeldRank> HeldRank::begin(const v1::Assignment& assignment, const std::string& folder,
                                          const RankOptions& options, absl::Duration lease_end, absl::Duration now) {
  std::unique_ptr<HeldRank> held(new HeldRank(folder, options, {}));
  held->assignment_ = assignment;
  held->lease_end_ = lease_end;
  *held->report_.mutable_id() = assignment.id();
  held->report_.set_rank(assignment.rank());
  held->report_.set_phase(v1::RankReport::LAUNCHING);
  held->log_ = LogTail(held->log_path(), {}, options.spool_bytes);
  if (absl::Status made = make_folders(folder); !made.ok()) {
    held->refuse(made, false);
    return held;
  }
  held->save();
  if (assignment.stop()) {
    held->kill(absl::StrCat("stopped before it began: ", assignment.stop_reason()));
    return held;
  }
  std::error_code error;
  if (!std::filesystem::is_directory(options.jobs_folder, error)) {
    held->refuse(absl::FailedPreconditionError(
                     absl::StrCat("the scheduler's folder of jobs, ", options.jobs_folder,
                                  ", does not exist on this worker's machine; mount the same folder on both")),
                 false);
    return held;
  }
  if (absl::Status allowed = check_input_paths(assignment.job(), assignment.job_folder(), options.roots);
      !allowed.ok()) {
    held->refuse(allowed, true);
    return held;
  }
  if (absl::Status launched = held->launch(lease_end - now); !launched.ok()) held->refuse(launched, false);
  return held;
}

absl::Status HeldRank::launch(absl::Duration lease) {
  v1::TrainerAssignment trainer;
  *trainer.mutable_id() = assignment_.id();
  trainer.set_rank(assignment_.rank());
  trainer.set_ranks(assignment_.ranks());
  trainer.set_job_folder(assignment_.job_folder());
  trainer.set_attempt_folder(folder_);
  trainer.set_resume_step(assignment_.resume_step());
  trainer.set_resume_epoch(assignment_.resume_epoch());
  trainer.set_threads(options_.threads);
  trainer.set_interface(options_.interface);
  if (assignment_.slot() < options_.devices.size()) {
    trainer.set_device(options_.devices[assignment_.slot()].kind);
    trainer.set_device_uuid(options_.devices[assignment_.slot()].uuid);
  }
  trainer.set_initial_lease_milliseconds(std::max<int64_t>(1, absl::ToInt64Milliseconds(lease)));
  const std::string job_file = absl::StrCat(folder_, "/job.pb");
  const std::string assignment_file = absl::StrCat(folder_, "/assignment.pb");
  if (absl::Status s = write_file_atomically(job_file, assignment_.job().SerializeAsString()); !s.ok()) return s;
  if (absl::Status s = write_file_atomically(assignment_file, trainer.SerializeAsString()); !s.ok()) return s;
  kills_before_ = out_of_memory_kills();
  absl::StatusOr<ProcessId> process = start_supervisor(
      options_.executable, folder_, log_path(), {options_.trainer, "--job", job_file, "--assignment", assignment_file});
  if (!process.ok()) return process.status();
  process_ = *process;
  report_.set_phase(v1::RankReport::RUNNING);
  ++changes_;
  save();
  log_info(describe(assignment_), " started, process group ", process_.pid);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<HeldRank>> HeldRank::recover(const std::string& folder, const RankOptions& options) {
  absl::StatusOr<std::string> text = read_file(absl::StrCat(folder, "/", kStateFile));
  if (!text.ok()) return text.status();
  FrameDecoder decoder;
  decoder.append(*text);
  std::string parts[3];
  for (std::string& part : parts) {
    absl::StatusOr<std::optional<std::string>> frame = decoder.next();
    if (!frame.ok() || !frame->has_value()) return absl::DataLossError(absl::StrCat(folder, " holds no whole state"));
    part = **frame;
  }
  std::unique_ptr<HeldRank> held(new HeldRank(folder, options, {}));
  std::vector<uint64_t> numbers;
  for (const absl::string_view word : absl::StrSplit(parts[2], ' ')) {
    uint64_t number = 0;
    if (absl::SimpleAtoi(word, &number)) numbers.push_back(number);
  }
  if (numbers.size() != 10 || !held->assignment_.ParseFromString(parts[0]) ||
      !held->report_.ParseFromString(parts[1])) {
    return absl::DataLossError(absl::StrCat(folder, " holds a damaged state"));
  }
  held->process_ = {static_cast<pid_t>(numbers[0]), numbers[1]};
  held->processed_ = numbers[2];
  held->acknowledged_ = numbers[2];
  held->log_ = LogTail(held->log_path(), {numbers[3], numbers[4], numbers[5], numbers[6]}, options.spool_bytes);
  held->log_done_ = numbers[7] != 0;
  held->killed_ = numbers[8] != 0;
  held->kills_before_ = numbers[9];
  if (held->report_.phase() == v1::RankReport::LAUNCHING) {
    // The last daemon ended between its decision to launch and the record of the process.
    if (const std::optional<ProcessId> process = read_supervisor_pid(folder)) {
      held->process_ = *process;
      held->report_.set_phase(v1::RankReport::RUNNING);
    } else if (absl::Status launched = held->launch(absl::Seconds(10)); !launched.ok()) {
      held->refuse(launched, false);
    }
  }
  log_info(describe(held->assignment_), " taken over", held->exited() ? ", it has exited" : "");
  return held;
}

void HeldRank::save() {
  const LogPosition& log = log_.position();
  const std::string numbers =
      absl::StrCat(process_.pid, " ", process_.start_ticks, " ", checkpoint_ ? checkpoint_->sequence() - 1 : processed_,
                   " ", log.shipped, " ", log.file, " ", log.drop_from, " ", log.drop_to, " ", log_done_ ? 1 : 0, " ",
                   killed_ ? 1 : 0, " ", kills_before_);
  const absl::Status saved =
      write_file_atomically(absl::StrCat(folder_, "/", kStateFile),
                            absl::StrCat(encode_frame(assignment_.SerializeAsString()),
                                         encode_frame(report_.SerializeAsString()), encode_frame(numbers)));
  if (!saved.ok()) log_warning(describe(assignment_), ": ", saved.message());
}

void HeldRank::append_to_log(const std::string& line) {
  FileDescriptor file(::open(log_path().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file.valid()) (void)write_all(file.get(), absl::StrCat("[galleon-worker] ", line, "\n"));
}

void HeldRank::refuse(const absl::Status& why, bool permanent) {
  log_warning(describe(assignment_), " cannot start: ", why.message());
  append_to_log(std::string(why.message()));
  v1::Finished& finished = *report_.mutable_finished();
  finished.set_outcome(v1::Finished::FAILED);
  finished.set_message(std::string(why.message()));
  finished.set_permanent(permanent);
  report_.set_phase(v1::RankReport::EXITED);
  report_.set_exit_code(permanent ? 2 : 1);
  report_.set_log_bytes(log_.written());
  ++changes_;
  save();
}

void HeldRank::update(const v1::Assignment& assignment, absl::Duration now) {
  listed_ = true;
  const bool had_payloads = assignment_.rendezvous_payloads_size() > 0;
  if (!had_payloads && assignment.rendezvous_payloads_size() > 0) {
    *assignment_.mutable_rendezvous_payloads() = assignment.rendezvous_payloads();
    v1::TrainerCommand command;
    *command.mutable_rendezvous()->mutable_payloads() = assignment_.rendezvous_payloads();
    link_.send(command);
    save();
  }
  if (assignment.stop() && !exited()) {
    if (assignment.stop_grace_milliseconds() == 0) {
      kill(absl::StrCat("ended at the scheduler's word: ", assignment.stop_reason()));
    } else {
      stop(assignment.stop_reason(), absl::Milliseconds(assignment.stop_grace_milliseconds()), now);
    }
  }
}

void HeldRank::unlist() {
  if (!listed_) return;
  listed_ = false;
  if (!exited()) kill("ended: the scheduler does not list it any more");
}

void HeldRank::grant_lease(absl::Duration lease_end, absl::Duration now) {
  lease_end_ = lease_end;
  const int64_t left = absl::ToInt64Milliseconds(lease_end - now);
  if (left <= 0) return;
  v1::TrainerCommand command;
  command.mutable_lease()->set_milliseconds(static_cast<uint64_t>(left));
  link_.send(command);
}

void HeldRank::stop(const std::string& reason, absl::Duration grace, absl::Duration now) {
  if (exited() || stop_.has_value()) return;
  log_info(describe(assignment_), " is asked to stop within ", absl::FormatDuration(grace), ": ", reason);
  stop_.emplace();
  stop_->set_reason(reason);
  stop_->set_grace_milliseconds(static_cast<uint64_t>(absl::ToInt64Milliseconds(grace)));
  kill_at_ = now + grace + options_.stop_margin;
  v1::TrainerCommand command;
  *command.mutable_stop() = *stop_;
  link_.send(command);
}

bool HeldRank::ended_before() const {
  // Without a trainer there is its supervisor alone, which is about to write down how it ended.
  for (int i = 0; i < 100; ++i) {
    if (read_exit_file(folder_).has_value()) return true;
    if (process_.pid <= 0 || process_group_use(process_.pid).processes != 1) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return false;
}

void HeldRank::kill(const std::string& reason) {
  if (exited()) return;
  if (!killed_) {
    // What ended by itself a moment ago is not our doing: the end is seen with its own code or signal.
    if (ended_before()) return;
    log_warning(describe(assignment_), " ", reason);
    append_to_log(reason);
    killed_ = true;
    report_.set_signalled_by_daemon(true);
    save();
  }
  if (process_.pid > 0) {
    signal_process_group(process_, SIGKILL);
  } else {
    report_.set_phase(v1::RankReport::EXITED);
    report_.set_exit_signal(SIGKILL);
    ++changes_;
    save();
  }
}

std::optional<v1::CheckpointReady> HeldRank::take_checkpoint() {
  if (!checkpoint_ || checkpoint_taken_) return std::nullopt;
  checkpoint_taken_ = true;
  return checkpoint_->checkpoint_ready();
}

void HeldRank::decide(uint64_t step, bool approved, const std::string& reason) {
  if (!checkpoint_ || checkpoint_->checkpoint_ready().step() != step) return;
  checkpoint_.reset();
  checkpoint_taken_ = false;
  decision_.emplace();
  decision_->set_step(step);
  decision_->set_approved(approved);
  decision_->set_reason(reason);
  v1::TrainerCommand command;
  *command.mutable_checkpoint_decision() = *decision_;
  link_.send(command);
  save();
  acknowledge();
}

bool HeldRank::tick(absl::Duration now) {
  if (exited()) return false;
  if (kill_at_ && now > *kill_at_) kill("ended: it did not stop within its grace time");
  if (!link_.connected() && !killed_ && now >= next_connect_) {
    next_connect_ = now + kConnectInterval;
    if (link_.connect(absl::StrCat(folder_, "/trainer-", assignment_.rank(), ".sock")).ok()) greet(now);
  }
  link_.flush();
  bool urgent = receive();
  urgent |= see_end();
  return urgent;
}

void HeldRank::greet(absl::Duration now) {
  // Whatever an earlier connection may have lost is said again; the trainer takes all of it twice without harm.
  acknowledged_ = 0;
  acknowledge();
  if (lease_end_) grant_lease(*lease_end_, now);
  if (assignment_.rendezvous_payloads_size() > 0) {
    v1::TrainerCommand command;
    *command.mutable_rendezvous()->mutable_payloads() = assignment_.rendezvous_payloads();
    link_.send(command);
  }
  if (decision_) {
    v1::TrainerCommand command;
    *command.mutable_checkpoint_decision() = *decision_;
    link_.send(command);
  }
  if (stop_) {
    v1::TrainerCommand command;
    *command.mutable_stop() = *stop_;
    link_.send(command);
  }
}

bool HeldRank::receive() {
  bool urgent = false;
  const uint64_t before = processed_;
  for (const v1::TrainerEvent& event : link_.receive()) urgent |= handle(event);
  if (processed_ != before) {
    ++changes_;
    save();
    acknowledge();
  }
  return urgent;
}

// A checkpoint that waits for its decision is not acknowledged: a daemon after us must hear of it again.
void HeldRank::acknowledge() {
  const uint64_t sequence = checkpoint_ ? checkpoint_->sequence() - 1 : processed_;
  if (sequence <= acknowledged_) return;
  acknowledged_ = sequence;
  v1::TrainerCommand command;
  command.mutable_acknowledge()->set_sequence(sequence);
  link_.send(command);
}

bool HeldRank::handle(const v1::TrainerEvent& event) {
  if (event.sequence() <= processed_) return false;
  processed_ = event.sequence();
  switch (event.event_case()) {
    case v1::TrainerEvent::kHello:
      if (event.hello().has_plan()) *report_.mutable_ledger() = event.hello().plan();
      return false;
    case v1::TrainerEvent::kStage:
      *report_.mutable_stage() = event.stage();
      return true;
    case v1::TrainerEvent::kStep:
      *report_.mutable_progress() = event.step();
      return false;
    case v1::TrainerEvent::kEvaluation:
      *report_.mutable_evaluation() = event.evaluation();
      return false;
    case v1::TrainerEvent::kRendezvousOffer:
      report_.set_rendezvous_payload(event.rendezvous_offer().payload());
      return true;
    case v1::TrainerEvent::kCheckpointReady:
      checkpoint_ = event;
      checkpoint_taken_ = false;
      return false;
    case v1::TrainerEvent::kFinished:
      *report_.mutable_finished() = event.finished();
      return true;
    case v1::TrainerEvent::kLedger:
      *report_.mutable_ledger() = event.ledger();
      return false;
    case v1::TrainerEvent::kCheckpointPublished:
    case v1::TrainerEvent::EVENT_NOT_SET:
      return false;
  }
  return false;
}

bool HeldRank::see_end() {
  (void)poll_process(process_.pid);
  if (process_alive(process_)) {
    // A daemon before us may have decided the end and died before the signal.
    if (killed_) signal_process_group(process_, SIGKILL);
    return false;
  }
  // The leader is gone; nothing of its group may outlive it.
  if (process_group_use(process_.pid).processes > 0) {
    signal_process_group(process_, SIGKILL);
    return false;
  }
  receive();
  link_.close();
  ProcessExit exit;
  if (const std::optional<ProcessExit> written = read_exit_file(folder_)) {
    exit = *written;
    // Our signal would have ended the supervisor too, before it could write.
    report_.set_signalled_by_daemon(false);
  } else {
    exit.signal = SIGKILL;
  }
  report_.set_phase(v1::RankReport::EXITED);
  report_.set_exit_code(exit.code);
  report_.set_exit_signal(exit.signal);
  if (exit.signal == 0 && exit.code == kLeaseExitCode) report_.set_signalled_by_daemon(true);
  if (exit.signal == 0 && exit.code == 0 && !report_.has_finished()) {
    // Its last words were said while no daemon listened. What it published is recorded; another attempt finds it.
    report_.mutable_finished()->set_outcome(v1::Finished::STOPPED);
    report_.mutable_finished()->set_message("ended by itself while its worker was away");
    report_.mutable_finished()->set_step(report_.progress().step());
  }
  report_.set_out_of_memory(exit.signal == SIGKILL && !killed_ && out_of_memory_kills() > kills_before_);
  if (absl::StatusOr<std::string> lines = read_file_tail(log_path(), kLastLinesBytes); lines.ok()) {
    // Messages carry UTF-8 only; a log may hold anything.
    std::replace_if(
        lines->begin(), lines->end(), [](unsigned char c) { return c >= 0x80 || c == 0; }, '?');
    report_.set_last_lines(*std::move(lines));
  }
  if (exit.signal == 0 && exit.code == kDeviceFailureExitCode) note_device_failure();
  report_.set_log_bytes(log_.written());
  ++changes_;
  save();
  log_info(describe(assignment_), " has exited, ",
           exit.signal != 0 ? absl::StrCat("signal ", exit.signal) : absl::StrCat("code ", exit.code));
  return true;
}

// The trainer's last line says what happened to its device.
void HeldRank::note_device_failure() {
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

std::optional<HeldRank::LogPiece> HeldRank::next_log() {
  if (log_done_) return std::nullopt;
  // What is written before the exit is seen is in the file when it is seen.
  const bool ended = exited();
  LogPiece piece;
  piece.chunk = log_.next(kLogChunkBytes);
  piece.complete = ended && piece.chunk.last;
  if (piece.chunk.data.empty() && !piece.complete) return std::nullopt;
  return piece;
}

void HeldRank::acknowledge_log(const LogPiece& piece, uint64_t stored) {
  const LogPosition before = log_.position();
  log_.acknowledge(piece.chunk, stored);
  if (piece.complete && stored >= piece.chunk.offset + piece.chunk.data.size()) log_done_ = true;
  report_.set_log_bytes(log_.written());
  if (!(before == log_.position()) || log_done_) save();
}

void HeldRank::abandon_log() {
  log_done_ = true;
  save();
}

}  // namespace galleon

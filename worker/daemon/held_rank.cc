#include "worker/daemon/held_rank.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/landlock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/daemon/allowed_tracking.h"
#include "worker/daemon/input_paths.h"
#include "worker/daemon/place_probe.h"

namespace galleon {

namespace {

constexpr char kStateFile[] = "rank.state";
constexpr char kTokenCaches[] = ".token-caches";  // no job's name begins with a point
constexpr size_t kLastLinesBytes = 4096;
constexpr size_t kLogChunkBytes = 256 << 10;

std::string describe(const v1::Assignment& a) {
  return absl::StrCat("job ", a.id().job_id(), " attempt ", a.id().attempt(), " rank ", a.rank());
}

std::string log_of(const std::string& folder, const v1::Assignment& assignment) {
  return absl::StrCat(folder, "/rank-", assignment.rank(), ".log");
}

std::string socket_of(const std::string& folder, const v1::Assignment& assignment) {
  return absl::StrCat(folder, "/trainer-", assignment.rank(), ".sock");
}

LogPosition position_of(const v1::HeldRankState::Log& log) {
  return {log.shipped(), log.file(), log.drop_from(), log.drop_to()};
}

}  // namespace

std::string HeldRank::key(const v1::AttemptId& id, uint32_t rank) {
  return absl::StrCat(id.job_id(), ".", id.attempt(), ".", rank);
}

HeldRank::HeldRank(std::string folder, const RankOptions& options, const v1::HeldRankState& state)
    : folder_(std::move(folder)),
      options_(options),
      assignment_(state.assignment()),
      report_(state.report(), state.assignment().job().sweep()),
      process_(folder_),
      delivery_(socket_of(folder_, assignment_), state.processed_events()),
      log_(log_of(folder_, assignment_), position_of(state.log()), options.spool_bytes),
      log_done_(state.log().done()) {
  process_.restore(state.process());
  if (assignment_.rendezvous_payloads_size() > 0) delivery_.meet(assignment_.rendezvous_payloads());
}

std::string HeldRank::log_path() const {
  return log_of(folder_, assignment_);
}

std::unique_ptr<HeldRank> HeldRank::begin(const v1::Assignment& assignment, const std::string& folder,
                                          const RankOptions& options, absl::Duration lease_end, absl::Duration now) {
  v1::HeldRankState state;
  *state.mutable_assignment() = assignment;
  *state.mutable_report() = KeptReport(assignment.id(), assignment.rank()).report();
  std::unique_ptr<HeldRank> held(new HeldRank(folder, options, state));
  held->delivery_.grant_lease(lease_end, now);
  if (absl::Status made = make_folders(folder); !made.ok()) {
    held->refuse(made, v1::PLACE_FAULT_CERTAIN);
    return held;
  }
  held->save();
  if (assignment.stop()) {
    held->kill(absl::StrCat("stopped before it began: ", assignment.stop_reason()), now);
    return held;
  }
  v1::PlaceFault place = v1::PLACE_FAULT_CERTAIN;
  absl::Status status = held->check(options, place);
  if (status.ok()) status = held->launch(lease_end - now);
  if (!status.ok()) held->refuse(status, place);
  return held;
}

// Whether this machine has what the rank needs and may read what it asks for.
absl::Status HeldRank::check(const RankOptions& options, v1::PlaceFault& place) const {
  RETURN_IF_ERROR(check_jobs_folder(options.jobs_folder));
  absl::Status allowed = check_input_paths(assignment_.job(), assignment_.job_folder(),
                                           with_readable(options.roots, assignment_.readable_folder()), options.copies);
  if (allowed.ok()) allowed = check_tracking(assignment_.job(), options.trackers);
  if (allowed.ok()) allowed = check_inputs_present(assignment_.job());
  if (allowed.ok()) return allowed;
  // Another worker may be allowed more, or have what is missing here.
  place = absl::IsInvalidArgument(allowed) ? v1::PLACE_FAULT_UNSPECIFIED : v1::PLACE_FAULT_DOUBTFUL;
  return allowed;
}

v1::TrainerAssignment HeldRank::trainer_assignment(absl::Duration lease) const {
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
  if (const std::string caches = token_caches(); !caches.empty()) {
    trainer.set_token_cache_folder(caches);
    trainer.set_token_cache_bytes(options_.token_cache_bytes);
  }
  trainer.set_initial_lease_milliseconds(std::max<int64_t>(1, absl::ToInt64Milliseconds(lease)));
  return trainer;
}

// The folder that jobs share; empty: each has its own.
std::string HeldRank::token_caches() const {
  if (options_.token_cache_bytes == 0 || options_.jobs_folder.empty()) return "";
  const std::string folder = absl::StrCat(options_.jobs_folder, "/", kTokenCaches);
  if (const absl::Status made = give_job_folder(folder, options_.trainer_user); !made.ok()) {
    log_warning("each job makes its own tokens: ", std::string(made.message()));
    return "";
  }
  std::error_code error;
  return std::filesystem::canonical(folder, error).string();
}

absl::Status HeldRank::launch(absl::Duration lease) {
  Supervision supervision;
  supervision.log = log_path();
  supervision.trainer = options_.trainer;
  supervision.socket = socket_of(folder_, assignment_);
  supervision.job = absl::StrCat(folder_, "/job.pb");
  supervision.assignment = absl::StrCat(folder_, "/assignment.pb");
  RETURN_IF_ERROR(give_job_folder(assignment_.job_folder(), options_.trainer_user));
  std::error_code error;
  const std::string job_folder = std::filesystem::canonical(assignment_.job_folder(), error).string();
  if (error) return errno_status("cannot find", assignment_.job_folder(), error.value());
  supervision.confinement = {
      with_readable(options_.roots, assignment_.readable_folder()), {job_folder}, options_.trainer_user};
  supervision.confinement.reads.insert(supervision.confinement.reads.end(), options_.copies.begin(),
                                       options_.copies.end());
  const v1::TrainerAssignment trainer = trainer_assignment(lease);
  for (const std::string& shared : {options_.cache, trainer.token_cache_folder()}) {
    if (!shared.empty()) supervision.confinement.writes.push_back(shared);
  }
  RETURN_IF_ERROR(write_file_atomically(supervision.job, assignment_.job().SerializeAsString()));
  RETURN_IF_ERROR(write_file_atomically(supervision.assignment, trainer.SerializeAsString()));
  RETURN_IF_ERROR(process_.start(options_.executable, supervision));
  report_.started();
  save();
  log_info(describe(assignment_), " started, process group ", process_.id().pid,
           landlock_version() > 0 ? ", confined by Landlock" : ", not confined by Landlock",
           options_.trainer_user.empty() ? "" : absl::StrCat(", as user ", options_.trainer_user));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<HeldRank>> HeldRank::recover(const std::string& folder, const RankOptions& options) {
  ASSIGN_OR_RETURN(const std::string text, read_file(absl::StrCat(folder, "/", kStateFile)));
  v1::HeldRankState state;
  if (!state.ParseFromString(text) || !state.has_assignment() || !state.has_report())
    return absl::DataLossError(absl::StrCat(folder, " holds a damaged state"));
  std::unique_ptr<HeldRank> held(new HeldRank(folder, options, state));
  if (held->report_.launching()) {
    // The last daemon ended between its decision to launch and the record of the process.
    if (held->process_.adopt()) {
      held->report_.started();
    } else if (absl::Status launched = held->launch(absl::Seconds(10)); !launched.ok()) {
      held->refuse(launched, v1::PLACE_FAULT_CERTAIN);
    }
  }
  log_info(describe(held->assignment_), " taken over", held->exited() ? ", it has exited" : "");
  return held;
}

void HeldRank::save() {
  v1::HeldRankState state;
  *state.mutable_assignment() = assignment_;
  *state.mutable_report() = report_.report();
  *state.mutable_process() = process_.state();
  const LogPosition& position = log_.position();
  v1::HeldRankState::Log& log = *state.mutable_log();
  log.set_shipped(position.shipped);
  log.set_file(position.file);
  log.set_drop_from(position.drop_from);
  log.set_drop_to(position.drop_to);
  log.set_done(log_done_);
  state.set_processed_events(delivery_.kept());
  const absl::Status saved = write_file_atomically(absl::StrCat(folder_, "/", kStateFile), state.SerializeAsString());
  if (!saved.ok()) log_warning(describe(assignment_), ": ", saved.message());
}

void HeldRank::append_to_log(const std::string& line) {
  FileDescriptor file(::open(log_path().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file.valid()) (void)write_all(file.get(), absl::StrCat("[galleon-worker] ", line, "\n"));
}

void HeldRank::refuse(const absl::Status& why, v1::PlaceFault place) {
  log_warning(describe(assignment_), " cannot start: ", why.message());
  append_to_log(std::string(why.message()));
  report_.refused(std::string(why.message()), place, log_.written());
  save();
}

void HeldRank::update(const v1::Assignment& assignment, absl::Duration now) {
  listed_ = true;
  const bool had_payloads = assignment_.rendezvous_payloads_size() > 0;
  if (!had_payloads && assignment.rendezvous_payloads_size() > 0) {
    *assignment_.mutable_rendezvous_payloads() = assignment.rendezvous_payloads();
    delivery_.meet(assignment_.rendezvous_payloads());
    save();
  }
  if (assignment.stop() && !exited()) {
    if (assignment.stop_grace_milliseconds() == 0) {
      kill(absl::StrCat("ended at the scheduler's word: ", assignment.stop_reason()), now);
    } else {
      stop(assignment.stop_reason(), absl::Milliseconds(assignment.stop_grace_milliseconds()), now);
    }
  }
}

void HeldRank::unlist(absl::Duration now) {
  if (!listed_) return;
  listed_ = false;
  if (!exited()) kill("ended: the scheduler does not list it any more", now);
}

void HeldRank::stop(const std::string& reason, absl::Duration grace, absl::Duration now) {
  if (exited() || delivery_.stopping()) return;
  log_info(describe(assignment_), " is asked to stop within ", absl::FormatDuration(grace), ": ", reason);
  kill_at_ = now + grace + options_.stop_margin;
  delivery_.stop(reason, grace);
}

void HeldRank::kill(const std::string& reason, absl::Duration now) {
  if (exited()) return;
  if (process_.killed()) return process_.signal();
  if (!kill_reason_) kill_reason_ = reason;
  try_to_kill(now);
}

void HeldRank::try_to_kill(absl::Duration now) {
  const RankProcess::End end = process_.started() ? process_.look(now) : RankProcess::End::kAtOurs;
  if (end == RankProcess::End::kUnclear) return;
  const std::string reason = *std::exchange(kill_reason_, std::nullopt);
  if (end == RankProcess::End::kByItself) return;
  log_warning(describe(assignment_), " ", reason);
  append_to_log(reason);
  process_.set_killed();
  report_.killed();
  if (!process_.started()) report_.killed_unstarted();
  save();
  if (process_.started()) process_.signal();
}

void HeldRank::decide(uint64_t step, bool approved, const std::string& reason) {
  if (!delivery_.decide(step, approved, reason)) return;
  save();
  delivery_.acknowledge();
}

bool HeldRank::tick(absl::Duration now) {
  if (exited()) return false;
  if (kill_at_ && now > *kill_at_) kill("ended: it did not stop within its grace time", now);
  if (kill_reason_) try_to_kill(now);
  // Whom we end is not spoken to any more.
  if (delivery_.fd() >= 0 || !process_.killed()) delivery_.tick(now);
  bool urgent = receive();
  urgent |= see_end();
  return urgent;
}

bool HeldRank::receive() {
  bool urgent = false;
  const std::vector<v1::TrainerEvent> events = delivery_.receive();
  for (const v1::TrainerEvent& event : events) urgent |= report_.take(event);
  if (!events.empty()) {
    report_.changed();
    save();
    delivery_.acknowledge();
  }
  return urgent;
}

bool HeldRank::see_end() {
  const std::optional<ProcessExit> exit = process_.poll();
  if (!exit) return false;
  receive();
  delivery_.close();
  KeptReport::Ended end;
  end.exit = *exit;
  end.written = process_.exit_written();
  end.out_of_memory = exit->signal == SIGKILL && !process_.killed() && process_.memory_ran_out();
  end.last_lines = read_file_tail(log_path(), kLastLinesBytes).value_or("");
  end.log_bytes = log_.written();
  report_.ended(end);
  save();
  log_info(describe(assignment_), " has exited, ",
           exit->signal != 0 ? absl::StrCat("signal ", exit->signal) : absl::StrCat("code ", exit->code));
  return true;
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

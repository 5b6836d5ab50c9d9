// Workers: registration, leases, and the comparison of what a daemon holds with what it should hold.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "server/core/job_paths.h"
#include "server/core/rank_exit.h"
#include "server/core/refusal.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr int kMaxSlots = 1024;
constexpr int64_t kLongestWaitMs = 30'000;
// Workers are told to speak so seldom that all of them together renew their leases this often. News never waits for it.
constexpr int64_t kSyncsPerSecond = 1'000;

absl::Status check_worker(const v1::Worker& worker) {
  const std::string& id = worker.worker_id();
  // Whatever hostname(1) prints; nothing that a command takes for an option, or a path for something else.
  const bool named = !id.empty() && id.size() <= 64 && absl::ascii_isalnum(id.front()) &&
                     std::all_of(id.begin(), id.end(),
                                 [](char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.'; });
  if (!named) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker.worker_id: \"", id,
                     "\" is not a name; use 1 to 64 letters, digits, '-', '_' and '.', the first a letter or a digit"));
  }
  if (worker.incarnation().empty()) return absl::InvalidArgumentError("worker.incarnation: must be given");
  if (worker.slots() < 1 || worker.slots() > kMaxSlots) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker.slots: ", worker.slots(), " is not between 1 and ", kMaxSlots));
  }
  if (worker.devices_size() != static_cast<int>(worker.slots())) {
    return absl::InvalidArgumentError(absl::StrCat("worker.devices: ", worker.devices_size(), " devices for ",
                                                   worker.slots(), " slots; there must be one for each"));
  }
  return absl::OkStatus();
}

bool alive(const v1::RankReport& report) {
  return report.phase() != v1::RankReport::EXITED;
}

// `rank` is whatever a worker has sent.
bool runs_on(const v1::AttemptState& attempt, uint32_t rank, const std::string& worker) {
  return int64_t{rank} < attempt.ranks_size() && attempt.ranks(static_cast<int>(rank)).worker_id() == worker;
}

// Does the report say something that the last one did not?
bool differs(const v1::RankReport& a, const v1::RankReport& b) {
  return a.phase() != b.phase() || a.log_bytes() != b.log_bytes() || a.stage().name() != b.stage().name() ||
         a.stage().detail() != b.stage().detail() || a.progress().step() != b.progress().step() ||
         a.rendezvous_payload() != b.rendezvous_payload();
}

}  // namespace

absl::Status Scheduler::register_worker(Now now, const v1::Worker& worker) {
  RETURN_IF_ERROR(check_worker(worker));
  if (worker.version() != options_.version) {
    return refusal(v1::ErrorInfo::VERSION_MISMATCH,
                   absl::StrCat("worker ", worker.worker_id(), " is of version ", worker.version(),
                                ", the scheduler of version ", options_.version, "; install the same on both"));
  }
  const v1::Worker* known = state_.worker(worker.worker_id());
  const bool another =
      known != nullptr && known->state() != v1::Worker::GONE && known->incarnation() != worker.incarnation();
  if (another && holds_nothing_and_leaves(worker.worker_id())) {
    worker_left(now, worker.worker_id());
  } else if (another) {
    const int64_t left = std::max<int64_t>(0, fleet_.workers[worker.worker_id()].lease_end_ms - now.mono_ms);
    return refusal(v1::ErrorInfo::LEASE_HELD, absl::StrCat("another daemon named ", worker.worker_id(), " on ",
                                                           known->host(), " holds its lease for ", (left + 999) / 1000,
                                                           " s more; give this one another --name, or stop the other"));
  }
  v1::JournalEvent event;
  v1::Worker& stored = *event.mutable_worker_registered()->mutable_worker();
  stored = worker;
  stored.clear_attempts();
  stored.clear_slots_used();
  emit(now, std::move(event));
  WorkerLive& live = fleet_.workers[worker.worker_id()];
  live.lease_end_ms = now.mono_ms + options_.held_lease_ms();
  live.expected_ms = now.mono_ms + options_.sync_ms;
  live.last_seen_wall_ms = now.wall_ms;
  live.session = ++last_revision_;
  live.last_sequence = 0;
  assignments_changed(worker.worker_id(), live);
  live.synced = false;
  live.unreachable = false;
  live.leaving = false;
  live.foreign_ranks = 0;
  live.faults.clear();
  live.probe.Clear();
  live.probe_at_order = 0;
  live.devices.assign(worker.devices().begin(), worker.devices().end());
  // A daemon that starts anew counts its messages anew.
  for (const auto& [slot, use] : state_.leased_slots(worker.worker_id())) {
    const v1::JobState& job = *state_.job(use.job_id);
    this->live(now, job, *live_attempt(job)).ranks[use.rank].listed_sequence = 0;
  }
  return absl::OkStatus();
}

int64_t Scheduler::sync_interval_ms() const {
  const int64_t spread = static_cast<int64_t>(fleet_.workers.size()) * 1000 / kSyncsPerSecond;
  return std::max(options_.sync_ms, std::min(spread, options_.lease_ms / 6));
}

int64_t Scheduler::granted_wait_ms(const v1::SyncWorkerRequest& request) const {
  const int64_t longest = std::min(kLongestWaitMs, options_.lease_ms / 3);
  return static_cast<int64_t>(std::min(request.wait_milliseconds(), static_cast<uint64_t>(longest)));
}

// Whoever speaks must be registered, by this incarnation, in this session.
absl::Status Scheduler::check_speaker(const v1::SyncWorkerRequest& request) const {
  const v1::Worker* worker = state_.worker(request.worker_id());
  if (worker == nullptr || worker->state() == v1::Worker::GONE) {
    return refusal(v1::ErrorInfo::NOT_REGISTERED,
                   absl::StrCat("worker ", request.worker_id(), " is not registered",
                                worker == nullptr ? "" : " any more, its lease ended", "; register again"));
  }
  if (worker->incarnation() != request.incarnation())
    return refusal(v1::ErrorInfo::NAME_TAKEN, absl::StrCat("another daemon has taken the name ", request.worker_id()));
  const uint64_t known = session(request.worker_id());
  if (request.session() != 0 && known != 0 && request.session() != known) {
    return refusal(v1::ErrorInfo::NOT_REGISTERED,
                   absl::StrCat("worker ", request.worker_id(), " was registered anew since; register again"));
  }
  return absl::OkStatus();
}

void Scheduler::renew_lease(Now now, const v1::SyncWorkerRequest& request, WorkerLive& speaker) {
  if (speaker.session == 0) speaker.session = request.session();
  speaker.lease_end_ms = now.mono_ms + options_.held_lease_ms();
  speaker.expected_ms = std::max(speaker.expected_ms, now.mono_ms + granted_wait_ms(request) + options_.sync_ms);
  speaker.last_seen_wall_ms = now.wall_ms;
  if (speaker.unreachable) dirty_ = true;
  speaker.unreachable = false;
}

void Scheduler::take_devices(const v1::SyncWorkerRequest& request, WorkerLive& speaker) {
  if (request.devices_size() != static_cast<int>(speaker.devices.size())) return;
  for (int i = 0; i < request.devices_size(); ++i) {
    const v1::DeviceInfo& device = request.devices(i);
    dirty_ |= device.free_memory_bytes() != speaker.devices[i].free_memory_bytes() ||
              device.healthy() != speaker.devices[i].healthy();
    speaker.devices[i] = device;
  }
}

// By job and rank, those that this worker holds and should hold; of others `foreign` counts the living.
Scheduler::Reports Scheduler::own_reports(const v1::SyncWorkerRequest& request, int& foreign) const {
  Reports reports;
  foreign = 0;
  for (const v1::RankReport& report : request.ranks()) {
    const v1::JobState* job = state_.job(report.id().job_id());
    const v1::AttemptState* attempt = job == nullptr ? nullptr : live_attempt(*job);
    const bool ours = attempt != nullptr && attempt->attempt().number() == report.id().attempt() &&
                      attempt->attempt().epoch() == report.id().epoch() &&
                      runs_on(*attempt, report.rank(), request.worker_id()) &&
                      !attempt->ranks(static_cast<int>(report.rank())).released();
    if (ours) {
      reports[{report.id().job_id(), report.rank()}] = &report;
    } else if (alive(report)) {
      ++foreign;
    }
  }
  return reports;
}

absl::Status Scheduler::sync(Now now, const v1::SyncWorkerRequest& request) {
  RETURN_IF_ERROR(check_speaker(request));
  WorkerLive& speaker = fleet_.workers[request.worker_id()];
  renew_lease(now, request, speaker);
  if (request.sequence() <= speaker.last_sequence) return absl::OkStatus();
  speaker.last_sequence = request.sequence();
  if (!speaker.synced) dirty_ = true;
  speaker.synced = true;
  take_devices(request, speaker);
  take_probe(now, request);
  int foreign = 0;
  const Reports reports = own_reports(request, foreign);
  if (foreign != speaker.foreign_ranks) dirty_ = true;
  speaker.foreign_ranks = foreign;

  const std::map<uint32_t, SlotUse> leased = state_.leased_slots(request.worker_id());
  for (const auto& [slot, use] : leased) {
    const v1::JobState& job = *state_.job(use.job_id);
    const auto it = reports.find({use.job_id, use.rank});
    if (it != reports.end()) {
      take_report(now, job, use.rank, *it->second);
    } else {
      miss_report(now, job, use.rank, request.sequence());
    }
  }
  for (const auto& [slot, use] : leased) {
    const v1::JobState& job = *state_.job(use.job_id);
    advance(now, job);
    settle(now, job);
  }
  dirty_ |= request.leaving() != speaker.leaving;
  speaker.leaving = request.leaving();
  if (request.leaving()) {
    for (const auto& [slot, use] : leased) {
      hand_back(now, *state_.job(use.job_id), v1::StopOrder::LEAVING,
                absl::StrCat("worker ", request.worker_id(), " shuts down"));
    }
  }
  return absl::OkStatus();
}

void Scheduler::take_report(Now now, const v1::JobState& job, uint32_t rank, const v1::RankReport& report) {
  const v1::AttemptState& attempt = *live_attempt(job);
  AttemptLive& known = live(now, job, attempt);
  RankLive& heard = known.ranks[rank];
  if (!heard.reported || differs(heard.report, report)) known.change_ms = now.mono_ms;
  const bool new_payload = heard.report.rendezvous_payload() != report.rendezvous_payload();
  heard.reported = true;
  if (known.offered_ms < 0) {
    // It was told by the process before this one, which had seen the folder made.
    known.offered_ms = now.mono_ms;
    touch(attempt);
  }
  heard.report = report;
  if (rank == 0 && report.rungs_size() > 0) take_rungs(now, job, report);
  if (new_payload) {
    const bool complete = std::all_of(known.ranks.begin(), known.ranks.end(),
                                      [](const RankLive& r) { return !r.report.rendezvous_payload().empty(); });
    if (complete) {
      known.rendezvous_complete = true;
      touch(attempt);
    }
  }
  if (report.phase() == v1::RankReport::EXITED) release_rank(now, job, rank, exit_of(report));
}

void Scheduler::miss_report(Now now, const v1::JobState& job, uint32_t rank, uint64_t sequence) {
  const v1::AttemptState& attempt = *live_attempt(job);
  const RankLive& heard = live(now, job, attempt).ranks[rank];
  v1::RankExit exit;
  if (attempt.closed() || attempt.has_stop()) {
    // The answer to this very sequence cannot have listed it, so what is not held now will not be.
    if (sequence <= heard.listed_sequence) return;
    exit.set_kind(v1::RankExit::LET_GO);
    exit.set_message("was let go");
    release_rank(now, job, rank, exit);
    return;
  }
  // STARTING and later are reached only when every rank has been reported, so this holds over a restart of the
  // scheduler too.
  const bool was_held = heard.reported || job.record().state() != v1::JobRecord::RESERVED;
  if (!was_held) return;
  exit.set_kind(v1::RankExit::FORGOTTEN);
  exit.set_message("is no longer known to its worker");
  release_rank(now, job, rank, exit);
}

void Scheduler::advance(Now now, const v1::JobState& job) {
  const v1::AttemptState* attempt = live_attempt(job);
  if (attempt == nullptr) return;
  const AttemptLive& known = live(now, job, *attempt);
  if (job.record().state() == v1::JobRecord::RESERVED) {
    const bool all = std::all_of(known.ranks.begin(), known.ranks.end(), [](const RankLive& r) { return r.reported; });
    if (all) move(now, job, v1::JobRecord::STARTING);
  }
  if (job.record().state() == v1::JobRecord::STARTING) {
    const v1::RankReport& first = known.ranks[0].report;
    if (first.has_progress() || first.stage().name() == "train") {
      move(now, job, v1::JobRecord::RUNNING);
      judge_places(now, job);
    }
  }
}

uint64_t Scheduler::session(const std::string& worker_id) const {
  const auto it = fleet_.workers.find(worker_id);
  return it == fleet_.workers.end() ? 0 : it->second.session;
}

uint64_t Scheduler::assignments_revision(const std::string& worker_id) const {
  const auto it = fleet_.workers.find(worker_id);
  return it == fleet_.workers.end() ? 0 : it->second.revision;
}

v1::SyncWorkerResponse Scheduler::assignments(Now now, const std::string& worker_id, uint64_t sequence) {
  v1::SyncWorkerResponse response;
  response.set_lease_milliseconds(static_cast<uint64_t>(options_.lease_ms));
  response.set_sync_milliseconds(static_cast<uint64_t>(sync_interval_ms()));
  const auto it = fleet_.workers.find(worker_id);
  if (it == fleet_.workers.end()) return response;
  response.set_revision(it->second.revision);
  for (const auto& [slot, use] : state_.leased_slots(worker_id)) {
    const v1::JobState& job = *state_.job(use.job_id);
    const v1::AttemptState& attempt = *live_attempt(job);
    AttemptLive& known = live(now, job, attempt);
    RankLive& heard = known.ranks[use.rank];
    const bool stop = attempt.closed() || attempt.has_stop();
    // What was never taken up is simply not offered any more. After a restart of the scheduler nothing is known to have
    // been taken up before the daemon has said so; then it is listed when it speaks next.
    if (stop && !heard.reported) continue;
    if (known.offered_ms < 0) continue;
    heard.listed_sequence = std::max({heard.listed_sequence, sequence, it->second.last_sequence});
    v1::Assignment& assignment = *response.add_assignments();
    assignment.mutable_id()->set_job_id(use.job_id);
    assignment.mutable_id()->set_attempt(use.attempt);
    assignment.mutable_id()->set_epoch(attempt.attempt().epoch());
    assignment.set_rank(use.rank);
    assignment.set_ranks(static_cast<uint32_t>(attempt.ranks_size()));
    assignment.set_slot(slot);
    assignment.set_job_folder(job.record().folder());
    assignment.set_readable_folder(job.readable_folder());
    assignment.set_resume_step(attempt.resume_step());
    assignment.set_resume_epoch(attempt.resume_epoch());
    if (!heard.reported) *assignment.mutable_job() = job.record().job();
    if (known.rendezvous_complete && !stop) {
      for (const RankLive& rank : known.ranks) assignment.add_rendezvous_payloads(rank.report.rendezvous_payload());
    }
    if (!stop) continue;
    assignment.set_stop(true);
    if (attempt.closed()) {
      assignment.set_stop_reason(attempt.close_reason());
    } else {
      const int64_t passed = known.stop_ms < 0 ? 0 : now.mono_ms - known.stop_ms;
      const int64_t grace = static_cast<int64_t>(attempt.stop().grace_milliseconds());
      assignment.set_stop_grace_milliseconds(static_cast<uint64_t>(std::clamp<int64_t>(grace - passed, 0, grace)));
      assignment.set_stop_reason(attempt.stop().reason());
    }
  }
  return response;
}

namespace {

// Where a job's trainer may publish: what is recorded is read, copied and removed by others.
bool lies_within_job(const std::string& folder, const v1::JobRecord& job) {
  absl::string_view wanted = job.job().checkpoint().directory();
  while (wanted.size() > 1 && absl::EndsWith(wanted, "/")) wanted.remove_suffix(1);
  return lies_below(folder, job.folder()) || (absl::StartsWith(wanted, "/") && lies_below(folder, std::string(wanted)));
}

}  // namespace

absl::Status Scheduler::publish_checkpoint(Now now, const v1::PublishCheckpointRequest& request) {
  const v1::JobState* job = state_.job(request.id().job_id());
  const v1::AttemptState* attempt = job == nullptr ? nullptr : live_attempt(*job);
  const std::string what = absl::StrCat("attempt ", request.id().attempt(), " of jobs/", request.id().job_id(),
                                        " at epoch ", request.id().epoch());
  if (attempt == nullptr || attempt->attempt().number() != request.id().attempt() ||
      attempt->attempt().epoch() != request.id().epoch() || attempt->closed()) {
    return refusal(v1::ErrorInfo::EPOCH_OVER, absl::StrCat(what, " is over; its checkpoint is not recorded"));
  }
  const v1::RankState& first = attempt->ranks(0);
  if (first.worker_id() != request.worker_id() || first.released()) {
    return refusal(v1::ErrorInfo::EPOCH_OVER, absl::StrCat(what, ": rank 0 is not on worker ", request.worker_id()));
  }
  if (!lies_within_job(request.folder(), job->record())) {
    return absl::InvalidArgumentError(absl::StrCat("folder: ", request.folder(), " is neither in the job's folder, ",
                                                   job->record().folder(), ", nor in its checkpoint.directory"));
  }
  const v1::PublishedCheckpoint& newest = job->record().checkpoint();
  if (newest.epoch() == request.id().epoch() && newest.step() == request.step()) return absl::OkStatus();
  if (newest.epoch() == request.id().epoch() && newest.step() > request.step()) {
    return refusal(v1::ErrorInfo::EPOCH_OVER, absl::StrCat(what, ": step ", request.step(), " comes after step ",
                                                           newest.step(), ", which is recorded already"));
  }
  v1::JournalEvent event;
  v1::CheckpointRecorded& recorded = *event.mutable_checkpoint_recorded();
  *recorded.mutable_id() = request.id();
  recorded.set_step(request.step());
  recorded.set_folder(request.folder());
  recorded.set_folder_bytes(request.folder_bytes());
  emit(now, std::move(event));
  check_folder_quota(now, *job);
  return absl::OkStatus();
}

absl::Status Scheduler::check_log_source(const v1::AppendLogsRequest& request) const {
  const v1::JobState* job = state_.job(request.id().job_id());
  const int64_t index = int64_t{request.id().attempt()} - 1;
  if (job != nullptr && index >= 0 && index < job->attempts_size()) {
    const v1::AttemptState& attempt = job->attempts(static_cast<int>(index));
    if (attempt.attempt().epoch() == request.id().epoch() && runs_on(attempt, request.rank(), request.worker_id())) {
      return absl::OkStatus();
    }
  }
  return absl::NotFoundError(absl::StrCat("rank ", request.rank(), " of attempt ", request.id().attempt(), " of jobs/",
                                          request.id().job_id(), " at epoch ", request.id().epoch(),
                                          " was never on worker ", request.worker_id()));
}

}  // namespace galleon::server

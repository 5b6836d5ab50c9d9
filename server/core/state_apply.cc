// What each event of the journal does to the state.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "server/core/state.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr size_t kMostLoose = 1'000;

std::string attempt_text(const v1::AttemptId& id) {
  return absl::StrCat("attempt ", id.attempt());
}

}  // namespace

void State::on(const v1::JobCreated& event, int64_t time_ms) {
  GALLEON_CHECK(event.number() > last_job_number_) << "job numbers grow";
  GALLEON_CHECK(by_id_.find(event.job_id()) == by_id_.end()) << event.job_id() << " exists";
  last_job_number_ = event.number();
  auto job = std::make_unique<v1::JobState>();
  job->set_number(event.number());
  job->set_revision(revision_);
  job->set_queued_time_ms(time_ms);
  v1::JobRecord& record = *job->mutable_record();
  record.set_name(absl::StrCat("jobs/", event.job_id()));
  record.set_job_id(event.job_id());
  *record.mutable_job() = event.job();
  *record.mutable_plan() = event.plan();
  record.set_state(v1::JobRecord::QUEUED);
  record.set_create_time_ms(time_ms);
  record.set_folder(event.folder());
  record.set_request_id(event.request_id());
  record.set_owner(event.owner());
  record.set_project(event.project());
  job->set_readable_folder(event.readable_folder());
  record.set_group(event.group());
  *record.mutable_settings() = event.settings();
  GALLEON_CHECK(event.group().empty() || group(event.group()) != nullptr) << event.job_id() << " is of no group";
  fill_scheduling(record);
  const JobEntry& entry = jobs_.add(std::move(job));
  v1::JobState& stored = jobs_.change(entry);
  changed_.insert(event.number());
  name(stored.record(), entry);
  index(stored);
  note(stored, "created", absl::StrCat("submitted to queue ", record.queue(), " with priority ", record.priority()));
}

void State::on(const v1::WorkerRegistered& event, int64_t time_ms) {
  v1::Worker& worker = workers_[event.worker().worker_id()];
  const v1::Worker::State ordered = worker.ordered() == 0 ? v1::Worker::READY : worker.ordered();
  const std::string reason = worker.order_reason();
  const bool by_scheduler = worker.ordered_by_scheduler();
  worker = event.worker();
  worker.set_name(absl::StrCat("workers/", worker.worker_id()));
  worker.set_state(ordered);
  worker.set_ordered(ordered);
  worker.set_order_reason(reason);
  worker.set_ordered_by_scheduler(by_scheduler);
  worker.set_revision(revision_);
  note_worker(worker.worker_id(), "registered",
              absl::StrCat(worker.slots(), worker.slots() == 1 ? " slot" : " slots", ", version ", worker.version()));
  worker.set_registered_time_ms(time_ms);
  worker.set_last_seen_time_ms(time_ms);
  worker.clear_message();
}

void State::on(const v1::WorkerGone& event, int64_t) {
  const auto it = workers_.find(event.worker_id());
  GALLEON_CHECK(it != workers_.end()) << "unknown worker " << event.worker_id();
  GALLEON_CHECK(leased_slots(event.worker_id()).empty()) << event.worker_id() << " is gone but holds slots";
  it->second.set_state(v1::Worker::GONE);
  it->second.set_message(event.reason());
  it->second.set_last_seen_time_ms(event.last_seen_time_ms());
  it->second.set_revision(revision_);
  note_worker(event.worker_id(), "gone", event.reason());
}

void State::on(const v1::AttemptReserved& event, int64_t time_ms) {
  v1::JobState& job = mutable_job(event.id().job_id());
  GALLEON_CHECK_EQ(event.id().epoch(), last_epoch_ + 1) << "epochs grow by one";
  GALLEON_CHECK_EQ(static_cast<int>(event.id().attempt()), job.attempts_size() + 1) << event.id().job_id();
  last_epoch_ = event.id().epoch();
  v1::JobRecord& record = *job.mutable_record();
  record.set_attempts(event.id().attempt());
  if (record.start_time_ms() == 0) record.set_start_time_ms(time_ms);
  record.clear_message();
  v1::AttemptState& attempt = *job.add_attempts();
  *attempt.mutable_ranks() = event.ranks();
  attempt.set_resume_step(event.resume_step());
  attempt.set_resume_epoch(event.resume_epoch());
  v1::Attempt& seen = *attempt.mutable_attempt();
  seen.set_name(absl::StrCat(record.name(), "/attempts/", event.id().attempt()));
  seen.set_number(event.id().attempt());
  seen.set_epoch(event.id().epoch());
  seen.set_outcome(v1::Attempt::RUNNING);
  seen.set_start_time_ms(time_ms);
  seen.set_resumed_from_step(event.resume_step());
  seen.set_last_step(event.resume_step());
  std::set<std::string> workers;
  for (const v1::RankState& rank : event.ranks()) {
    seen.add_workers(rank.worker_id());
    workers.insert(rank.worker_id());
  }
  job.clear_held();
  note(job, "reserved",
       absl::StrCat(attempt_text(event.id()), " on ", absl::StrJoin(workers, ", "),
                    event.resume_step() > 0 ? absl::StrCat(", from step ", event.resume_step()) : ""));
  usage_.change_slots(record.queue(), record.owner(), lease(job, attempt), time_ms);
  move(job, v1::JobRecord::RESERVED);
}

void State::on(const v1::JobMoved& event, int64_t) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(is_active(event.state())) << v1::JobRecord::State_Name(event.state());
  move(job, event.state());
  note(job, absl::AsciiStrToLower(v1::JobRecord::State_Name(event.state())), "");
}

void State::on(const v1::StopOrdered& event, int64_t) {
  *mutable_attempt(event.id()).mutable_stop() = event.stop();
  note(mutable_job(event.id().job_id()), "stop_ordered", event.stop().reason());
}

void State::on(const v1::AttemptClosed& event, int64_t) {
  v1::AttemptState& attempt = mutable_attempt(event.id());
  attempt.set_closed(true);
  attempt.set_close_reason(event.reason());
  note(mutable_job(event.id().job_id()), "closed", event.reason());
}

void State::on(const v1::RankReleased& event, int64_t time_ms) {
  v1::AttemptState& attempt = mutable_attempt(event.id());
  GALLEON_CHECK(static_cast<int>(event.rank()) < attempt.ranks_size()) << event.id().job_id();
  v1::RankState& rank = *attempt.mutable_ranks(static_cast<int>(event.rank()));
  GALLEON_CHECK(!rank.released()) << "rank " << event.rank() << " of " << event.id().job_id() << " released twice";
  rank.set_released(true);
  *rank.mutable_exit() = event.exit();
  slots_[rank.worker_id()].erase(rank.slot());
  const v1::JobRecord& holder = mutable_job(event.id().job_id()).record();
  usage_.change_slots(holder.queue(), holder.owner(), -1, time_ms);
  v1::Attempt& seen = *attempt.mutable_attempt();
  seen.set_last_step(std::max(seen.last_step(), event.last_step()));
  note(mutable_job(event.id().job_id()), "released",
       absl::StrCat("rank ", event.rank(), " on ", rank.worker_id(), event.exit().message().empty() ? "" : ": ",
                    event.exit().message()));
  if (event.rank() != 0) return;
  v1::JobRecord& record = *mutable_job(event.id().job_id()).mutable_record();
  if (event.has_stage()) *record.mutable_stage() = event.stage();
  if (event.has_progress()) *record.mutable_progress() = event.progress();
  if (event.has_evaluation()) *record.mutable_evaluation() = event.evaluation();
  if (event.has_ledger()) *record.mutable_ledger() = event.ledger();
  if (event.train_loss() != 0) record.set_final_train_loss(event.train_loss());
}

void State::on(const v1::AttemptEnded& event, int64_t time_ms) {
  v1::AttemptState& attempt = mutable_attempt(event.id());
  for (const v1::RankState& rank : attempt.ranks())
    GALLEON_CHECK(rank.released()) << event.id().job_id() << " ends with leases";
  attempt.set_closed(true);
  v1::Attempt& seen = *attempt.mutable_attempt();
  seen.set_outcome(event.outcome());
  seen.set_message(event.message());
  seen.set_end_time_ms(time_ms);
  seen.set_failed_rank(event.failed_rank());
  seen.set_exit_code(event.exit_code());
  seen.set_exit_signal(event.exit_signal());
  v1::JobState& job = mutable_job(event.id().job_id());
  const int64_t ran_ms = event.ran_ms() > 0 ? event.ran_ms() : std::max<int64_t>(0, time_ms - seen.start_time_ms());
  job.set_ran_ms(job.ran_ms() + ran_ms);
  if (event.outcome() == v1::Attempt::FAILED) job.mutable_record()->set_failures(job.record().failures() + 1);
  if (attempt.stop().cause() == v1::StopOrder::PREEMPTED && event.outcome() == v1::Attempt::STOPPED)
    job.mutable_record()->set_preemptions(job.record().preemptions() + 1);
  note(job, "attempt_ended",
       absl::StrCat(attempt_text(event.id()), " ", absl::AsciiStrToLower(v1::Attempt::Outcome_Name(event.outcome())),
                    event.message().empty() ? "" : ": ", event.message()));
  const bool progressed = seen.last_step() > job.best_step() ||
                          (job.record().has_checkpoint() && job.record().checkpoint().epoch() == seen.epoch());
  if (progressed) {
    job.set_lost_in_a_row(0);
    job.set_outside_in_a_row(0);
  } else if (attempt.ranks_size() > static_cast<int>(event.failed_rank()) &&
             attempt.ranks(static_cast<int>(event.failed_rank())).exit().kind() == v1::RankExit::OUTSIDE_FAILED) {
    job.set_outside_in_a_row(job.outside_in_a_row() + 1);
  } else if (event.outcome() == v1::Attempt::LOST) {
    job.set_lost_in_a_row(job.lost_in_a_row() + 1);
  }
  job.set_best_step(std::max(job.best_step(), seen.last_step()));
}

void State::on(const v1::JobRequeued& event, int64_t time_ms) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(live_attempt(job) == nullptr) << event.job_id() << " is queued again while its attempt lives";
  job.mutable_record()->set_message(event.message());
  job.set_not_before_ms(event.not_before_ms());
  job.set_queued_time_ms(time_ms);
  job.set_waits_long(false);
  move(job, v1::JobRecord::QUEUED);
  note(job, "queued", event.message());
}

void State::on(const v1::JobEnded& event, int64_t time_ms) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(is_terminal(event.state())) << v1::JobRecord::State_Name(event.state());
  GALLEON_CHECK(live_attempt(job) == nullptr) << event.job_id() << " ends while its attempt lives";
  job.mutable_record()->set_message(event.message());
  job.mutable_record()->set_end_time_ms(time_ms);
  job.clear_held();
  move(job, event.state());
  job.mutable_record()->clear_held();
  job.mutable_record()->clear_hold_reason();
  job.mutable_record()->clear_held_time_ms();
  note(job, absl::AsciiStrToLower(v1::JobRecord::State_Name(event.state())), event.message());
}

void State::on(const v1::CheckpointRecorded& event, int64_t time_ms) {
  v1::AttemptState& attempt = mutable_attempt(event.id());
  GALLEON_CHECK(!attempt.closed()) << event.id().job_id() << ": a checkpoint of an epoch that is over";
  attempt.mutable_attempt()->set_last_step(std::max(attempt.attempt().last_step(), event.step()));
  v1::PublishedCheckpoint& checkpoint = *mutable_job(event.id().job_id()).mutable_record()->mutable_checkpoint();
  GALLEON_CHECK(checkpoint.epoch() < event.id().epoch() || checkpoint.step() < event.step())
      << "checkpoints go forward";
  checkpoint.set_step(event.step());
  checkpoint.set_epoch(event.id().epoch());
  checkpoint.set_folder(event.folder());
  checkpoint.set_time_ms(time_ms);
  if (event.folder_bytes() > 0) {
    v1::JobState& job = mutable_job(event.id().job_id());
    usage_.count(job.record(), -1);
    job.mutable_record()->set_folder_bytes(event.folder_bytes());
    usage_.count(job.record(), 1);
  }
  note(mutable_job(event.id().job_id()), "checkpoint", absl::StrCat("step ", event.step()));
}

void State::on(const v1::JobReprioritized& event, int64_t time_ms) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(!is_terminal(job.record().state())) << event.job_id() << " has ended";
  unindex(job);
  int64_t slots = 0;
  if (const v1::AttemptState* attempt = live_attempt(job); attempt != nullptr)
    for (const v1::RankState& rank : attempt->ranks()) slots += !rank.released();
  if (slots > 0) usage_.change_slots(job.record().queue(), job.record().owner(), -slots, time_ms);
  job.mutable_record()->set_priority(event.priority());
  job.mutable_record()->set_queue(event.queue());
  if (slots > 0) usage_.change_slots(event.queue(), job.record().owner(), slots, time_ms);
  if (!event.project().empty()) job.mutable_record()->set_project(event.project());
  index(job);
  note(job, "reprioritized", absl::StrCat("queue ", event.queue(), ", priority ", event.priority()));
}

void State::on(const v1::SlotsHeld& event, int64_t) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(job.record().state() == v1::JobRecord::QUEUED) << event.job_id() << " is not queued";
  *job.mutable_held() = event.slots();
  holding_.erase(job.number());
  if (job.held_size() > 0) holding_.insert(job.number());
  note(job, job.held_size() > 0 ? "slots_held" : "slots_given_up", event.reason());
}

void State::on(const v1::WorkerOrdered& event, int64_t) {
  const auto it = workers_.find(event.worker_id());
  GALLEON_CHECK(it != workers_.end()) << "unknown worker " << event.worker_id();
  v1::Worker& worker = it->second;
  worker.set_ordered(event.ordered());
  worker.set_order_reason(event.reason());
  worker.set_ordered_by_scheduler(event.by_scheduler() && event.ordered() == v1::Worker::CORDONED);
  worker.set_revision(revision_);
  if (worker.state() != v1::Worker::GONE) worker.set_state(event.ordered());
  note_worker(event.worker_id(), absl::AsciiStrToLower(v1::Worker::State_Name(event.ordered())), event.reason());
}

void State::on(const v1::WorkerForgotten& event, int64_t) {
  const auto it = workers_.find(event.worker_id());
  GALLEON_CHECK(it != workers_.end() && it->second.state() == v1::Worker::GONE) << event.worker_id() << " is not gone";
  if (const auto events = worker_events_.find(event.worker_id()); events != worker_events_.end()) {
    forgotten_ = std::max(forgotten_, events->second.events().empty() ? events->second.dropped()
                                                                      : events->second.events().rbegin()->revision());
    worker_events_.erase(events);
  }
  slots_.erase(event.worker_id());
  workers_.erase(it);
  note_gone(absl::StrCat("workers/", event.worker_id()), "forgotten");
}

void State::on(const v1::JobForgotten& event, int64_t) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(is_terminal(job.record().state())) << event.job_id() << " has not ended";
  const std::string name = job.record().name();
  drop(job);
  if (event.has_removal()) removals_[event.job_id()] = event.removal();
  note_gone(name, "forgotten", event.reason());
}

void State::on(const v1::StateRestored& event, int64_t) {
  GALLEON_CHECK(event.last_epoch() >= last_epoch_) << "epochs grow";
  last_epoch_ = event.last_epoch();
}

void State::on(const v1::JobWaitsLong& event, int64_t) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(job.record().state() == v1::JobRecord::QUEUED) << event.job_id() << " is not queued";
  GALLEON_CHECK(!job.waits_long()) << event.job_id() << " says twice that it waits";
  job.set_waits_long(true);
  note(job, "waits_long", event.message());
}

void State::on(const v1::ReceiverTold& event, int64_t) {
  const v1::ReceiverState& told = event.receiver();
  if (event.removed()) {
    receivers_.erase(told.name());
    return;
  }
  v1::ReceiverState& known = receivers_[told.name()];
  GALLEON_CHECK(told.revision() >= known.revision() && told.number() >= known.number())
      << "receiver " << told.name() << " goes back";
  known = told;
}

void State::on(const v1::HalfLivesSet& event, int64_t time_ms) {
  std::map<std::string, int64_t> half_lives;
  for (const v1::HalfLife& one : event.half_lives()) half_lives[one.queue()] = one.half_life_ms();
  usage_.set_half_lives(std::move(half_lives), time_ms);
}

void State::on(const v1::ProjectsRecorded& event, int64_t) {
  for (const auto& [number, entry] : jobs()) {
    const JobFacts facts = entry.facts();
    const auto project = event.projects().find(std::string(facts.queue));
    if (!facts.project.empty() || project == event.projects().end()) continue;
    v1::JobRecord& record = *jobs_.change(entry).mutable_record();
    usage_.count(record, -1);
    record.set_project(project->second);
    usage_.count(record, 1);
    changed_.insert(number);
    if (jobs_.loose() > kMostLoose) jobs_.pack();
  }
}

}  // namespace galleon::server

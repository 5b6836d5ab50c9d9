#include "server/core/state.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

QueueKey queue_key(const v1::JobState& job) {
  return {job.record().job().scheduling().priority(), job.number()};
}

}  // namespace

const v1::AttemptState* current_attempt(const v1::JobState& job) {
  return job.attempts().empty() ? nullptr : &job.attempts(job.attempts_size() - 1);
}

const v1::AttemptState* live_attempt(const v1::JobState& job) {
  const v1::AttemptState* attempt = current_attempt(job);
  return attempt != nullptr && attempt->attempt().outcome() == v1::Attempt::RUNNING ? attempt : nullptr;
}

const v1::JobState* State::job(absl::string_view job_id) const {
  const auto it = by_id_.find(std::string(job_id));
  return it == by_id_.end() ? nullptr : it->second;
}

const v1::JobState* State::job_by_request(absl::string_view request_id) const {
  const auto it = by_request_.find(std::string(request_id));
  return it == by_request_.end() ? nullptr : it->second;
}

const v1::JobState* State::job_by_number(uint64_t number) const {
  const auto it = jobs_.find(number);
  return it == jobs_.end() ? nullptr : it->second.get();
}

const v1::Worker* State::worker(absl::string_view worker_id) const {
  const auto it = workers_.find(std::string(worker_id));
  return it == workers_.end() ? nullptr : &it->second;
}

const std::map<uint32_t, SlotUse>& State::leased_slots(absl::string_view worker_id) const {
  static const std::map<uint32_t, SlotUse> kNone;
  const auto it = slots_.find(std::string(worker_id));
  return it == slots_.end() ? kNone : it->second;
}

v1::JobState& State::mutable_job(const std::string& job_id) {
  const auto it = by_id_.find(job_id);
  GALLEON_CHECK(it != by_id_.end()) << "the journal speaks of an unknown job " << job_id;
  it->second->set_revision(revision_);
  return *it->second;
}

v1::AttemptState& State::mutable_attempt(const v1::AttemptId& id) {
  v1::JobState& job = mutable_job(id.job_id());
  GALLEON_CHECK(id.attempt() >= 1 && static_cast<int>(id.attempt()) == job.attempts_size())
      << "attempt " << id.attempt() << " of " << id.job_id() << " is not its newest";
  v1::AttemptState& attempt = *job.mutable_attempts(static_cast<int>(id.attempt()) - 1);
  GALLEON_CHECK_EQ(attempt.attempt().epoch(), id.epoch()) << "epoch of " << id.job_id();
  GALLEON_CHECK(attempt.attempt().outcome() == v1::Attempt::RUNNING) << id.job_id() << ": the attempt has ended";
  return attempt;
}

void State::index(v1::JobState& job) {
  const v1::JobRecord& record = job.record();
  by_id_[record.job_id()] = &job;
  if (!record.request_id().empty()) by_request_[record.request_id()] = &job;
  if (record.state() == v1::JobRecord::QUEUED) queue_[queue_key(job)] = &job;
  if (is_active(record.state())) active_.insert(job.number());
  ++counts_[{record.job().scheduling().queue(), record.state()}];
}

void State::unindex(const v1::JobState& job) {
  if (job.record().state() == v1::JobRecord::QUEUED) queue_.erase(queue_key(job));
  active_.erase(job.number());
  --counts_[{job.record().job().scheduling().queue(), job.record().state()}];
}

void State::move(v1::JobState& job, v1::JobRecord::State to) {
  const v1::JobRecord::State from = job.record().state();
  GALLEON_CHECK(transition_allowed(from, to)) << job.record().job_id() << " from " << v1::JobRecord::State_Name(from)
                                              << " to " << v1::JobRecord::State_Name(to);
  unindex(job);
  job.mutable_record()->set_state(to);
  index(job);
}

void State::lease(const v1::JobState& job, const v1::AttemptState& attempt) {
  for (int rank = 0; rank < attempt.ranks_size(); ++rank) {
    const v1::RankState& place = attempt.ranks(rank);
    if (place.released()) continue;
    const bool free = slots_[place.worker_id()]
                          .emplace(place.slot(), SlotUse{job.record().job_id(), attempt.attempt().number(),
                                                         static_cast<uint32_t>(rank)})
                          .second;
    GALLEON_CHECK(free) << "slot " << place.slot() << " of " << place.worker_id() << " leased twice, to "
                        << job.record().job_id();
  }
}

void State::apply(const v1::JournalEvent& event) {
  ++revision_;
  const int64_t time = event.time_ms();
  switch (event.event_case()) {
    case v1::JournalEvent::kJobCreated:
      return on(event.job_created(), time);
    case v1::JournalEvent::kWorkerRegistered:
      return on(event.worker_registered(), time);
    case v1::JournalEvent::kWorkerGone:
      return on(event.worker_gone(), time);
    case v1::JournalEvent::kAttemptReserved:
      return on(event.attempt_reserved(), time);
    case v1::JournalEvent::kJobMoved:
      return on(event.job_moved(), time);
    case v1::JournalEvent::kStopOrdered:
      return on(event.stop_ordered(), time);
    case v1::JournalEvent::kAttemptClosed:
      return on(event.attempt_closed(), time);
    case v1::JournalEvent::kRankReleased:
      return on(event.rank_released(), time);
    case v1::JournalEvent::kAttemptEnded:
      return on(event.attempt_ended(), time);
    case v1::JournalEvent::kJobRequeued:
      return on(event.job_requeued(), time);
    case v1::JournalEvent::kJobEnded:
      return on(event.job_ended(), time);
    case v1::JournalEvent::kCheckpointRecorded:
      return on(event.checkpoint_recorded(), time);
    case v1::JournalEvent::EVENT_NOT_SET:
      break;
  }
  GALLEON_CHECK(false) << "an event of no known kind";
}

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
  v1::JobState& stored = *(jobs_[event.number()] = std::move(job));
  index(stored);
}

void State::on(const v1::WorkerRegistered& event, int64_t time_ms) {
  v1::Worker& worker = workers_[event.worker().worker_id()];
  worker = event.worker();
  worker.set_name(absl::StrCat("workers/", worker.worker_id()));
  worker.set_state(v1::Worker::READY);
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
  for (const v1::RankState& rank : event.ranks()) seen.add_workers(rank.worker_id());
  lease(job, attempt);
  move(job, v1::JobRecord::RESERVED);
}

void State::on(const v1::JobMoved& event, int64_t) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(is_active(event.state())) << v1::JobRecord::State_Name(event.state());
  move(job, event.state());
}

void State::on(const v1::StopOrdered& event, int64_t) {
  *mutable_attempt(event.id()).mutable_stop() = event.stop();
}

void State::on(const v1::AttemptClosed& event, int64_t) {
  v1::AttemptState& attempt = mutable_attempt(event.id());
  attempt.set_closed(true);
  attempt.set_close_reason(event.reason());
}

void State::on(const v1::RankReleased& event, int64_t) {
  v1::AttemptState& attempt = mutable_attempt(event.id());
  GALLEON_CHECK(static_cast<int>(event.rank()) < attempt.ranks_size()) << event.id().job_id();
  v1::RankState& rank = *attempt.mutable_ranks(static_cast<int>(event.rank()));
  GALLEON_CHECK(!rank.released()) << "rank " << event.rank() << " of " << event.id().job_id() << " released twice";
  rank.set_released(true);
  *rank.mutable_exit() = event.exit();
  slots_[rank.worker_id()].erase(rank.slot());
  v1::Attempt& seen = *attempt.mutable_attempt();
  seen.set_last_step(std::max(seen.last_step(), event.last_step()));
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
  job.set_ran_ms(job.ran_ms() + std::max<int64_t>(0, time_ms - seen.start_time_ms()));
  if (event.outcome() == v1::Attempt::FAILED) job.mutable_record()->set_failures(job.record().failures() + 1);
  const bool progressed = seen.last_step() > job.best_step() ||
                          (job.record().has_checkpoint() && job.record().checkpoint().epoch() == seen.epoch());
  if (progressed) {
    job.set_lost_in_a_row(0);
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
  move(job, v1::JobRecord::QUEUED);
}

void State::on(const v1::JobEnded& event, int64_t time_ms) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(is_terminal(event.state())) << v1::JobRecord::State_Name(event.state());
  GALLEON_CHECK(live_attempt(job) == nullptr) << event.job_id() << " ends while its attempt lives";
  job.mutable_record()->set_message(event.message());
  job.mutable_record()->set_end_time_ms(time_ms);
  move(job, event.state());
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
}

v1::StateSnapshot State::to_proto() const {
  v1::StateSnapshot snapshot;
  snapshot.set_revision(revision_);
  snapshot.set_last_job_number(last_job_number_);
  snapshot.set_last_epoch(last_epoch_);
  for (const auto& [number, job] : jobs_) *snapshot.add_jobs() = *job;
  for (const auto& [id, worker] : workers_) *snapshot.add_workers() = worker;
  return snapshot;
}

void State::restore(const v1::StateSnapshot& snapshot) {
  GALLEON_CHECK(revision_ == 0 && jobs_.empty()) << "a snapshot is restored into an empty state";
  revision_ = snapshot.revision();
  last_job_number_ = snapshot.last_job_number();
  last_epoch_ = snapshot.last_epoch();
  for (const v1::JobState& job : snapshot.jobs()) {
    v1::JobState& stored = *(jobs_[job.number()] = std::make_unique<v1::JobState>(job));
    index(stored);
    if (const v1::AttemptState* attempt = live_attempt(stored); attempt != nullptr) lease(stored, *attempt);
  }
  for (const v1::Worker& worker : snapshot.workers()) workers_[worker.worker_id()] = worker;
}

}  // namespace galleon::server

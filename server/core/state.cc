#include "server/core/state.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr size_t kRecentEvents = 20'000;  // of all jobs and workers together

QueueKey queue_key(const v1::JobState& job) {
  return {job.record().priority(), job.number()};
}

int64_t newest_time_of(const v1::JobState& job) {
  int64_t newest_ms = std::max(job.record().create_time_ms(), job.record().end_time_ms());
  for (const v1::Event& event : job.events()) newest_ms = std::max(newest_ms, event.time_ms());
  return newest_ms;
}

}  // namespace

// What the job file says until somebody changes it. A state from before these fields existed lacks them.
void fill_scheduling(v1::JobRecord& record) {
  if (!record.queue().empty()) return;
  const v1::Scheduling& scheduling = record.job().scheduling();
  record.set_priority(scheduling.priority());
  record.set_queue(scheduling.queue().empty() ? "default" : scheduling.queue());
}

const v1::AttemptState* current_attempt(const v1::JobState& job) {
  return job.attempts().empty() ? nullptr : &job.attempts(job.attempts_size() - 1);
}

const v1::AttemptState* live_attempt(const v1::JobState& job) {
  const v1::AttemptState* attempt = current_attempt(job);
  return attempt != nullptr && attempt->attempt().outcome() == v1::Attempt::RUNNING ? attempt : nullptr;
}

int64_t waits_from_ms(const v1::JobState& job) {
  return job.waits_from_ms() == 0 ? job.record().create_time_ms() : job.waits_from_ms();
}

std::vector<const v1::RankState*> failed_places(const v1::JobState& job) {
  std::vector<const v1::RankState*> failed;
  int newest = job.attempts_size() - 1;
  if (live_attempt(job) != nullptr) --newest;
  for (int i = newest; i >= 0 && job.attempts(i).attempt().outcome() == v1::Attempt::LOST; --i) {
    for (const v1::RankState& rank : job.attempts(i).ranks()) {
      if (rank.exit().kind() == v1::RankExit::PLACE_FAILED) failed.push_back(&rank);
    }
  }
  return failed;
}

const v1::JobState* State::job(absl::string_view job_id) const {
  const auto it = by_id_.find(std::string(job_id));
  return it == by_id_.end() ? nullptr : &jobs_.whole(*it->second);
}

std::optional<JobFacts> State::facts(absl::string_view job_id) const {
  const auto it = by_id_.find(std::string(job_id));
  return it == by_id_.end() ? std::nullopt : std::make_optional(it->second->facts());
}

std::optional<v1::JobRecord::State> State::job_state(absl::string_view job_id) const {
  const auto it = by_id_.find(std::string(job_id));
  return it == by_id_.end() ? std::nullopt : std::make_optional(it->second->state());
}

const v1::JobState* State::job_by_request(absl::string_view request_id) const {
  const auto it = by_request_.find(std::string(request_id));
  return it == by_request_.end() ? nullptr : &jobs_.whole(*it->second);
}

const v1::JobState* State::job_by_number(uint64_t number) const {
  const JobEntry* entry = jobs_.entry(number);
  return entry == nullptr ? nullptr : &jobs_.whole(*entry);
}

const v1::Worker* State::worker(absl::string_view worker_id) const {
  const auto it = workers_.find(std::string(worker_id));
  return it == workers_.end() ? nullptr : &it->second;
}

const std::map<uint32_t, SlotUse>& State::leased_slots(absl::string_view worker_id) const {
  static const std::map<uint32_t, SlotUse> kNone;
  const auto it = slots_.find(worker_id);
  return it == slots_.end() ? kNone : it->second;
}

const absl::btree_set<uint64_t>& State::in_state(v1::JobRecord::State state) const {
  static const absl::btree_set<uint64_t> kNone;
  const auto it = by_state_.find(state);
  return it == by_state_.end() ? kNone : it->second;
}

v1::JobState& State::mutable_job(const std::string& job_id) {
  const auto it = by_id_.find(job_id);
  GALLEON_CHECK(it != by_id_.end()) << "the journal speaks of an unknown job " << job_id;
  v1::JobState& job = jobs_.change(*it->second);
  job.set_revision(revision_);
  changed_.insert(job.number());
  return job;
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

void State::name(const v1::JobRecord& record, const JobEntry& entry) {
  by_id_[record.job_id()] = &entry;
  if (!record.request_id().empty()) by_request_[record.request_id()] = &entry;
}

void State::index(const v1::JobState& job) {
  const v1::JobRecord& record = job.record();
  if (!record.group().empty()) members_[record.group()].insert(job.number());
  if (record.state() == v1::JobRecord::QUEUED) {
    queue_[queue_key(job)] = &job;
    if (!record.job().scheduling().after().empty()) dependent_[queue_key(job)] = &job;
  }
  if (is_active(record.state())) active_.insert(job.number());
  if (job.held_size() > 0) holding_.insert(job.number());
  if (record.state() == v1::JobRecord::QUEUED) held_counts_[record.queue()] += record.held();
  by_state_[record.state()].insert(job.number());
  ++counts_[{record.queue(), record.state()}];
  usage_.count(record, 1);
}

void State::unindex(const v1::JobState& job) {
  if (job.record().state() == v1::JobRecord::QUEUED) {
    queue_.erase(queue_key(job));
    dependent_.erase(queue_key(job));
    held_counts_[job.record().queue()] -= job.record().held();
  }
  active_.erase(job.number());
  holding_.erase(job.number());
  by_state_[job.record().state()].erase(job.number());
  --counts_[{job.record().queue(), job.record().state()}];
  usage_.count(job.record(), -1);
}

void State::move(v1::JobState& job, v1::JobRecord::State to) {
  const v1::JobRecord::State from = job.record().state();
  GALLEON_CHECK(transition_allowed(from, to)) << job.record().job_id() << " from " << v1::JobRecord::State_Name(from)
                                              << " to " << v1::JobRecord::State_Name(to);
  unindex(job);
  job.mutable_record()->set_state(to);
  index(job);
}

uint32_t State::lease(const v1::JobState& job, const v1::AttemptState& attempt) {
  uint32_t leased = 0;
  for (int rank = 0; rank < attempt.ranks_size(); ++rank) {
    const v1::RankState& assigned = attempt.ranks(rank);
    if (assigned.released()) continue;
    const bool free = slots_[assigned.worker_id()]
                          .emplace(assigned.slot(), SlotUse{job.record().job_id(), attempt.attempt().number(),
                                                            static_cast<uint32_t>(rank)})
                          .second;
    GALLEON_CHECK(free) << "slot " << assigned.slot() << " of " << assigned.worker_id() << " leased twice, to "
                        << job.record().job_id();
    ++leased;
  }
  return leased;
}

void State::apply(const v1::JournalEvent& event) {
  ++revision_;
  const int64_t time = event.time_ms();
  time_ms_ = time;
  newest_time_ms_ = std::max(newest_time_ms_, time);
  actor_ = event.actor();
  dispatch(event, time);
  if (recent_.size() > kRecentEvents) {
    recent_complete_ = recent_.front().revision();
    recent_.pop_front();
  }
}

void State::dispatch(const v1::JournalEvent& event, int64_t time) {
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
    case v1::JournalEvent::kJobReprioritized:
      return on(event.job_reprioritized(), time);
    case v1::JournalEvent::kSlotsHeld:
      return on(event.slots_held(), time);
    case v1::JournalEvent::kWorkerOrdered:
      return on(event.worker_ordered(), time);
    case v1::JournalEvent::kWorkerForgotten:
      return on(event.worker_forgotten(), time);
    case v1::JournalEvent::kJobForgotten:
      return on(event.job_forgotten(), time);
    case v1::JournalEvent::kStateRestored:
      return on(event.state_restored(), time);
    case v1::JournalEvent::kProjectsRecorded:
      return on(event.projects_recorded(), time);
    case v1::JournalEvent::kJobWaitsLong:
      return on(event.job_waits_long(), time);
    case v1::JournalEvent::kReceiverTold:
      return on(event.receiver_told(), time);
    case v1::JournalEvent::kJobHeld:
      return on(event.job_held(), time);
    case v1::JournalEvent::kJobReleased:
      return on(event.job_released(), time);
    case v1::JournalEvent::kJobResumed:
      return on(event.job_resumed(), time);
    case v1::JournalEvent::kJobDeleted:
      return on(event.job_deleted(), time);
    case v1::JournalEvent::kFolderRemoved:
      return on(event.folder_removed(), time);
    case v1::JournalEvent::kGroupCreated:
      return on(event.group_created(), time);
    case v1::JournalEvent::kRungReached:
      return on(event.rung_reached(), time);
    case v1::JournalEvent::kRungDecided:
      return on(event.rung_decided(), time);
    case v1::JournalEvent::kHalfLivesSet:
      return on(event.half_lives_set(), time);
    case v1::JournalEvent::EVENT_NOT_SET:
      break;
  }
  GALLEON_CHECK(false) << "an event of no known kind";
}

v1::StateSnapshot State::head() const {
  v1::StateSnapshot snapshot;
  snapshot.set_revision(revision_);
  snapshot.set_last_job_number(last_job_number_);
  snapshot.set_last_epoch(last_epoch_);
  for (const auto& [id, worker] : workers_) *snapshot.add_workers() = worker;
  for (const auto& [id, events] : worker_events_) *snapshot.add_worker_events() = events;
  snapshot.set_forgotten(forgotten_);
  for (const auto& [name, receiver] : receivers_) *snapshot.add_receivers() = receiver;
  for (const auto& [id, removal] : removals_) *snapshot.add_removals() = removal;
  for (const auto& [number, group] : groups_) *snapshot.add_groups() = group;
  usage_.save(snapshot);
  return snapshot;
}

v1::StateSnapshot State::to_proto() const {
  v1::StateSnapshot snapshot = head();
  for (const auto& [number, entry] : jobs())
    GALLEON_CHECK(snapshot.add_jobs()->ParseFromString(std::string(jobs_.body(entry)))) << "job " << number;
  return snapshot;
}

void State::restore(const v1::StateSnapshot& snapshot) {
  restore_head(snapshot);
  for (const v1::JobState& job : snapshot.jobs()) restore_job(job);
}

void State::restore_head(const v1::StateSnapshot& snapshot) {
  GALLEON_CHECK(revision_ == 0 && jobs().empty()) << "a snapshot is restored into an empty state";
  revision_ = snapshot.revision();
  last_job_number_ = snapshot.last_job_number();
  last_epoch_ = snapshot.last_epoch();
  for (const v1::Worker& worker : snapshot.workers()) {
    workers_[worker.worker_id()] = worker;
    newest_time_ms_ = std::max(newest_time_ms_, worker.last_seen_time_ms());
  }
  for (const v1::WorkerEvents& events : snapshot.worker_events()) {
    worker_events_[events.worker_id()] = events;
    for (const v1::Event& event : events.events()) newest_time_ms_ = std::max(newest_time_ms_, event.time_ms());
  }
  forgotten_ = snapshot.forgotten();
  for (const v1::ReceiverState& receiver : snapshot.receivers()) receivers_[receiver.name()] = receiver;
  for (const v1::FolderRemoval& removal : snapshot.removals()) removals_[removal.job_id()] = removal;
  for (const v1::GroupState& group : snapshot.groups()) index_group(groups_[group.number()] = group);
  usage_.restore(snapshot);
  recent_complete_ = revision_;
}

void State::restore_job(v1::JobState job) {
  fill_scheduling(*job.mutable_record());
  newest_time_ms_ = std::max(newest_time_ms_, newest_time_of(job));
  if (is_terminal(job.record().state())) {
    name(job.record(), jobs_.add_packed(job, job.SerializeAsString()));
    return index(job);
  }
  const JobEntry& entry = jobs_.add(std::make_unique<v1::JobState>(std::move(job)));
  const v1::JobState& stored = jobs_.whole(entry);
  name(stored.record(), entry);
  index(stored);
  if (const v1::AttemptState* attempt = live_attempt(stored); attempt != nullptr)
    usage_.restore_slots(stored.record().queue(), stored.record().owner(), lease(stored, *attempt));
}

bool State::restore_job(absl::string_view body) {
  // Most have ended, and are read only to be packed.
  v1::JobState& job = restoring_;
  if (!job.ParseFromArray(body.data(), static_cast<int>(body.size()))) return false;
  const bool as_stored = is_terminal(job.record().state()) && !job.record().queue().empty();
  if (!as_stored) {
    restore_job(v1::JobState(job));
    return true;
  }
  newest_time_ms_ = std::max(newest_time_ms_, newest_time_of(job));
  name(job.record(), jobs_.add_packed(job, body));
  index(job);
  return true;
}

void State::mark_saved() {
  changed_.clear();
  removed_.clear();
}

}  // namespace galleon::server

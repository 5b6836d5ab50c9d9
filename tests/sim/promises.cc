#include "tests/sim/promises.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

// The job that an event is about; empty for a worker's.
std::string job_of(const v1::JournalEvent& event) {
  if (event.has_job_created()) return event.job_created().job_id();
  if (event.has_job_moved()) return event.job_moved().job_id();
  if (event.has_job_requeued()) return event.job_requeued().job_id();
  if (event.has_job_ended()) return event.job_ended().job_id();
  if (event.has_job_reprioritized()) return event.job_reprioritized().job_id();
  if (event.has_slots_held()) return event.slots_held().job_id();
  if (event.has_attempt_reserved()) return event.attempt_reserved().id().job_id();
  if (event.has_stop_ordered()) return event.stop_ordered().id().job_id();
  if (event.has_attempt_closed()) return event.attempt_closed().id().job_id();
  if (event.has_rank_released()) return event.rank_released().id().job_id();
  if (event.has_attempt_ended()) return event.attempt_ended().id().job_id();
  if (event.has_checkpoint_recorded()) return event.checkpoint_recorded().id().job_id();
  if (event.has_job_waits_long()) return event.job_waits_long().job_id();
  if (event.has_job_held()) return event.job_held().job_id();
  if (event.has_job_released()) return event.job_released().job_id();
  if (event.has_job_resumed()) return event.job_resumed().job_id();
  if (event.has_rung_reached()) return event.rung_reached().job_id();
  return "";
}

bool is_preemptible(const v1::Job& job) {
  return !job.scheduling().has_preemptible() || job.scheduling().preemptible();
}

// What an entry of `after` names, and whether it has come about.
bool has_come_about(const std::string& entry, const State& state) {
  const size_t colon = entry.find(':');
  const v1::JobState* first = state.job(colon == std::string::npos ? entry : entry.substr(colon + 1));
  if (first == nullptr) return true;
  const v1::JobRecord::State reached = first->record().state();
  if (absl::StartsWith(entry, "any:")) return is_terminal(reached);
  return reached == (absl::StartsWith(entry, "failed:") ? v1::JobRecord::FAILED : v1::JobRecord::SUCCEEDED);
}

}  // namespace

void Promises::require(bool holds, const std::string& promise) {
  if (!holds && broken_.empty()) broken_ = promise;
}

void Promises::before(const v1::JournalEvent& event, const State& state, int64_t mono_ms) {
  if (event.has_attempt_reserved()) {
    check_reservation(event.attempt_reserved(), state);
    check_places(event.attempt_reserved(), state);
    check_user(*state.job(event.attempt_reserved().id().job_id()), state, event.time_ms(),
               static_cast<uint32_t>(event.attempt_reserved().ranks_size()));
    check_overtaking(*state.job(event.attempt_reserved().id().job_id()), state, event.time_ms());
    since_ms_[event.attempt_reserved().id().job_id()] = mono_ms;
  }
  check_rung(event.rung_decided(), state);
  check_halved(event, state);
  check_project(event, state);
  check_long_wait(event);
  check_orders(event, state);
  if (event.has_stop_ordered()) check_stop(event.stop_ordered(), state, mono_ms);
  if (event.has_rank_released()) check_release(event.rank_released(), state, event.time_ms());
  if (event.has_checkpoint_recorded()) check_checkpoint(event.checkpoint_recorded());
  if (event.has_attempt_ended()) {
    const std::string& id = event.attempt_ended().id().job_id();
    require(live_epoch_.contains(id) && live_epoch_[id] == event.attempt_ended().id().epoch(),
            "only a live epoch ends");
    live_epoch_.erase(id);
    for (const auto& [slot, holder] : leases_) require(holder != id, "an ended attempt holds no slot");
  }
  if (event.has_job_ended()) ended_ms_[event.job_ended().job_id()] = mono_ms;
  if (event.has_job_forgotten()) check_forgotten(event.job_forgotten(), state, mono_ms);
}

void Promises::check_forgotten(const v1::JobForgotten& gone, const State& state, int64_t mono_ms) {
  const std::string& id = gone.job_id();
  const v1::JobState* job = state.job(id);
  require(job != nullptr && is_terminal(job->record().state()), "only an ended job is forgotten");
  if (job == nullptr) return;
  const auto queue = std::find_if(options_->queues.begin(), options_->queues.end(),
                                  [job](const QueueConfig& config) { return config.id == job->record().queue(); });
  Retention kept;
  if (queue != options_->queues.end()) kept = queue->retention;
  if (gone.by_age()) {
    require(mono_ms - ended_ms_[id] >= (kept.age_ms.has_value() ? *kept.age_ms : options_->ended_retention_ms),
            "a job is kept for as long as its queue says");
  } else {
    int64_t ended = 0;
    for (const auto& [key, count] : state.counts())
      ended +=
          key.first == job->record().queue() && is_terminal(static_cast<v1::JobRecord::State>(key.second)) ? count : 0;
    require(kept.jobs > 0 && ended > static_cast<int64_t>(kept.jobs),
            "as many ended jobs are kept as their queue says");
  }
  require(gone.has_removal() == (kept.folders != Retention::Folders::kKeep), "a folder goes where its queue says so");
  const auto check = [&](const v1::JobRecord& other) {
    for (const std::string& entry : other.job().scheduling().after())
      require(entry != id && !absl::EndsWith(entry, ":" + id), "nobody comes after a job that is forgotten");
  };
  const auto check_folder = [&](const v1::JobRecord& other) {
    require(!gone.has_removal() || !absl::StartsWith(other.job().model().source(), "/jobs/" + id + "/"),
            "nobody reads from a folder that goes");
  };
  for (const auto& [key, other] : state.queue()) {
    check(other->record());
    check_folder(other->record());
  }
  for (const uint64_t number : state.active()) check_folder(state.job_by_number(number)->record());
}

// What is ordered of a job that is there.
void Promises::check_orders(const v1::JournalEvent& event, const State& state) {
  if (event.has_job_resumed()) {
    const std::string& id = event.job_resumed().job_id();
    const auto ended = terminal_.find(id);
    require(ended != terminal_.end() && ended->second != v1::JobRecord::SUCCEEDED,
            "only what failed or was cancelled goes on");
    terminal_.erase(id);
    std::tie(attempts_before_[id], failures_before_[id]) = counts_[id];
    said_.erase(id);
  }
  if (event.has_job_ended() && absl::StartsWith(event.job_ended().message(), "did not start within")) {
    const v1::JobRecord& record = state.job(event.job_ended().job_id())->record();
    require(!record.held() && record.attempts() == attempts_before_[record.job_id()],
            "a queue timeout ends what is not held and has not started");
  }
  if (event.has_job_deleted()) {
    const std::string& id = event.job_deleted().job_id();
    require(terminal_.contains(id), "only an ended job is deleted");
    for (const auto& [key, job] : state.queue()) {
      for (const std::string& entry : job->record().job().scheduling().after())
        require(entry != id && !absl::EndsWith(entry, ":" + id), "a deleted job is needed by nobody");
    }
  }
}

// Also over a crash of the scheduler.
void Promises::check_long_wait(const v1::JournalEvent& event) {
  if (event.has_job_requeued()) said_.erase(event.job_requeued().job_id());
  if (event.has_job_waits_long())
    require(said_.insert(event.job_waits_long().job_id()).second, "a job says once that it waits for long");
}

// What a file says later of the queue changes nothing of who may see a job.
void Promises::check_project(const v1::JournalEvent& event, const State& state) {
  const auto project_of = [this](const std::string& queue) {
    const auto it = std::find_if(options_->queues.begin(), options_->queues.end(),
                                 [&queue](const QueueConfig& config) { return config.id == queue; });
    return it == options_->queues.end() ? "" : it->project;
  };
  if (event.has_job_created()) {
    const v1::JobCreated& created = event.job_created();
    check_queued(created, state);
    projects_[created.job_id()] = project_of(queue_of(created.job()));
    require(!created.project().empty(), "a job has a project from the start");
  } else if (event.has_job_reprioritized() &&
             event.job_reprioritized().queue() != state.job(event.job_reprioritized().job_id())->record().queue()) {
    projects_[event.job_reprioritized().job_id()] = project_of(event.job_reprioritized().queue());
  }
}

void Promises::check_reservation(const v1::AttemptReserved& reserved, const State& state) {
  const std::string& id = reserved.id().job_id();
  const v1::JobRecord& record = state.job(id)->record();
  require(reserved.id().epoch() > last_epoch_, "epochs grow");
  last_epoch_ = reserved.id().epoch();
  require(live_epoch_.emplace(id, last_epoch_).second, "a job has one live epoch");
  const uint32_t ranks = std::max<uint32_t>(1, record.job().parallel().ranks());
  require(static_cast<uint32_t>(reserved.ranks_size()) == ranks, "a gang gets all of its slots, or none");
  for (const v1::RankState& rank : reserved.ranks()) {
    require(leases_.emplace(std::make_pair(rank.worker_id(), rank.slot()), id).second, "no slot is leased twice");
    const v1::Worker* worker = state.worker(rank.worker_id());
    require(worker != nullptr && worker->state() == v1::Worker::READY,
            "a worker that is cordoned, drained or gone gets nothing new");
    for (const uint64_t number : state.holding()) {
      const v1::JobState& holder = *state.job_by_number(number);
      for (const v1::HeldSlot& slot : holder.held()) {
        require(holder.record().job_id() == id || slot.worker_id() != rank.worker_id() || slot.slot() != rank.slot(),
                absl::StrCat("slots that are held for a job go to nobody else: those of ", holder.record().job_id(),
                             " to ", id));
      }
    }
  }
  const auto newest = checkpoint_.find(id);
  const uint64_t resume = newest == checkpoint_.end() ? 0 : newest->second.second;
  require(reserved.resume_step() == resume, "an attempt resumes from the newest recorded checkpoint");
  require(!record.held(), "a held job does not start");
  check_max_running(record, state);
  for (const std::string& entry : record.job().scheduling().after())
    require(has_come_about(entry, state), "a job starts only after those it names have ended as they must");
  uint32_t used = 0;
  for (const auto& [slot, holder] : leases_) used += state.job(holder)->record().queue() == record.queue();
  const auto queue = std::find_if(options_->queues.begin(), options_->queues.end(),
                                  [&record](const QueueConfig& config) { return config.id == record.queue(); });
  require(queue != options_->queues.end(), "nothing starts in a queue that is not configured");
  // A job that was moved while it ran may have brought the queue above its limit; it starts nothing more then.
  if (queue != options_->queues.end() && queue->limit != 0)
    require(used <= queue->limit, "no job starts beyond its queue's limit");
}

// All slots are alike here, so that whatever starts does so on slots that the first job of its queue could use.
void Promises::check_overtaking(const v1::JobState& starting, const State& state, int64_t wall_ms) {
  // One with a time limit may end in time; one for which others made room came first when they did.
  if (starting.record().job().scheduling().has_time_limit() || starting.held_size() > 0) return;
  const std::string& queue = starting.record().queue();
  const QueueConfig* config = queue_of_job(starting.record());
  if (config == nullptr) return;
  if (config->half_life_ms > 0) return check_turn(starting, state, wall_ms);
  const std::set<const v1::JobState*> beyond = beyond_users(state, *config);
  for (const auto& [key, job] : state.queue()) {
    if (job == &starting) return;
    const v1::Scheduling& scheduling = job->record().job().scheduling();
    const uint32_t ranks = std::max<uint32_t>(1, job->record().job().parallel().ranks());
    if (job->record().queue() != queue || ranks > open_) continue;
    // Nor one whose group runs as many as it may, or that lets others of it go first.
    if (!job->record().group().empty()) continue;
    // One that is kept from some workers could not use their slots.
    if (job->held_size() > 0 || !failed_places(*job).empty()) return;
    if (wall_ms < job->not_before_ms()) continue;
    const bool depends = std::any_of(scheduling.after().begin(), scheduling.after().end(),
                                     [&](const std::string& entry) { return !has_come_about(entry, state); });
    if (depends || job->record().held()) continue;
    if (beyond.contains(job)) continue;
    uint32_t promised = ranks;
    uint32_t own = 0;
    for (const QueueConfig& other : options_->queues) (other.id == queue ? own : promised) += other.guaranteed;
    if (!is_preemptible(job->record().job()) && promised > slots_ && ranks > own) continue;
    return require(false, "nobody overtakes the first of its queue on slots that it could use: " +
                              job->record().job_id() + " is overtaken by " + starting.record().job_id());
  }
}

void Promises::check_places(const v1::AttemptReserved& reserved, const State& state) {
  const v1::JobState& job = *state.job(reserved.id().job_id());
  std::set<std::string> failed;
  for (const v1::RankState* rank : failed_places(job)) failed.insert(rank->worker_id());
  uint32_t others = 0;
  for (const auto& [worker, slots] : open_by_worker_) others += failed.contains(worker) ? 0 : slots;
  // For whom slots are held from before is not sent anywhere else.
  if (others < static_cast<uint32_t>(reserved.ranks_size()) || job.held_size() > 0) return;
  for (const v1::RankState& rank : reserved.ranks())
    require(!failed.contains(rank.worker_id()), "a job goes elsewhere after a fault of the place");
}

void Promises::check_stop(const v1::StopOrdered& ordered, const State& state, int64_t mono_ms) {
  const v1::StopOrder& stop = ordered.stop();
  const v1::JobRecord& record = state.job(ordered.id().job_id())->record();
  if (stop.cause() == v1::StopOrder::REQUEUED || stop.cause() == v1::StopOrder::HELD)
    require(stop.grace_milliseconds() > 0, "who queues again has time for a checkpoint");
  if (stop.cause() != v1::StopOrder::PREEMPTED && stop.cause() != v1::StopOrder::DRAINED) return;
  require(is_preemptible(record.job()), "what is not preemptible makes room for nobody");
  require(stop.grace_milliseconds() > 0, "who makes room has time for a checkpoint");
  if (stop.cause() != v1::StopOrder::PREEMPTED) return;
  const v1::JobState* taker = state.job(stop.for_job_id());
  const bool same_queue = taker != nullptr && taker->record().queue() == record.queue();
  const int64_t spared_ms = same_queue ? options_->preempted_run_ms : options_->borrower_run_ms;
  require(record.preemptions() == 0 || mono_ms - since_ms_[ordered.id().job_id()] >= spared_ms,
          "who made room runs for a while before it has to again");
  require(taker != nullptr && taker->record().state() == v1::JobRecord::QUEUED, "room is made for a job that waits");
  if (taker != nullptr) check_taker(taker->record(), state);
  if (taker == nullptr || taker->record().queue() != record.queue()) return;
  require(taker->record().priority() > record.priority(), "within a queue only a higher priority takes slots");
}

void Promises::check_release(const v1::RankReleased& released, const State& state, int64_t wall_ms) {
  const std::string& id = released.id().job_id();
  const v1::AttemptState& attempt = *current_attempt(*state.job(id));
  const v1::RankState& rank = attempt.ranks(static_cast<int>(released.rank()));
  const auto lease = leases_.find({rank.worker_id(), rank.slot()});
  require(lease != leases_.end() && lease->second == id, "only who holds a slot releases it");
  if (lease != leases_.end()) leases_.erase(lease);
  for (Held& held : held_) {
    if (held.holder != absl::StrCat(id, "/", attempt.attempt().number(), "/", released.rank())) continue;
    held.to_ms = wall_ms;
  }
}

void Promises::check_checkpoint(const v1::CheckpointRecorded& recorded) {
  const std::string& id = recorded.id().job_id();
  require(live_epoch_.contains(id) && live_epoch_[id] == recorded.id().epoch(), "checkpoints come from the live epoch");
  const std::pair<uint64_t, uint64_t> point(recorded.id().epoch(), recorded.step());
  require(point > checkpoint_[id], "recorded checkpoints go forward");
  checkpoint_[id] = point;
}

void Promises::after(const v1::JournalEvent& event, const State& state) {
  const std::string id = job_of(event);
  if (id.empty()) return;
  check_job(state.job(id)->record());
  require(state.job(id)->record().project() == projects_[id], "a job stays in the project that it was submitted for");
}

void Promises::check_job(const v1::JobRecord& record) {
  const std::string& id = record.job_id();
  if (const auto ended = terminal_.find(id); ended != terminal_.end()) {
    require(record.state() == ended->second, absl::StrCat("a terminal state never changes: ", id));
  } else if (is_terminal(record.state())) {
    terminal_[id] = record.state();
    require(!live_epoch_.contains(id), "an ended job has no live epoch");
  }
  auto& [attempts, failures] = counts_[id];
  require(record.attempts() >= attempts && record.failures() >= failures, "counts are never reset");
  require(record.failures() - failures_before_[id] <= record.job().scheduling().max_retries() + 1,
          "retries have a limit");
  attempts = record.attempts();
  failures = record.failures();
}

}  // namespace galleon::server

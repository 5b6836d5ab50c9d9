#include "server/api/loop.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "server/core/demand.h"

namespace galleon::server {

namespace {

constexpr std::chrono::milliseconds kTick(50);
// Of a round, so that workers are heard again soon.
constexpr absl::Duration kTimeForChanges = absl::Milliseconds(200);
constexpr absl::Duration kTimeForReads = absl::Milliseconds(50);
constexpr int64_t kRemovalPauseMs = 600'000;  // before what could not be taken away is tried again

}  // namespace

Loop::Loop(Options options, std::unique_ptr<State> state)
    : options_(std::move(options)), scheduler_(options_.scheduler, std::move(state)) {}

Loop::~Loop() {
  stop();
}

Now Loop::now() const {
  return {absl::ToUnixMillis(options_.clock->now()), absl::ToInt64Milliseconds(options_.clock->monotonic())};
}

void Loop::recovered() {
  const Now start = now();
  if (const std::string told = clock_watch_.start(start, scheduler_.state().newest_time_ms()); !told.empty())
    log_warning(told);
  scheduler_.recovered(start);
  for (const uint64_t number : scheduler_.state().active()) {
    const v1::JobState& job = *scheduler_.state().job_by_number(number);
    if (const v1::AttemptState* attempt = live_attempt(job); attempt != nullptr) {
      v1::AttemptId id;
      id.set_job_id(job.record().job_id());
      id.set_attempt(attempt->attempt().number());
      id.set_epoch(attempt->attempt().epoch());
      make_job_folder(job, id);
    }
  }
  for (const auto& [id, removal] : scheduler_.state().removals()) take_away(removal);
  if (options_.compact_first && options_.journal->events_since_snapshot() > options_.compact_idle) compact();
  log_info("recovered ", scheduler_.state().jobs().size(), " jobs, ", scheduler_.state().active().size(),
           " of them active, and ", scheduler_.state().workers().size(), " workers");
  options_.metrics->gauges(scheduler_);
}

void Loop::start() {
  thread_ = std::thread([this] { run(); });
}

void Loop::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_all();
  if (thread_.joinable()) thread_.join();
}

absl::Status Loop::post(Lane lane, const std::string& caller, Inbox::Task task) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return absl::UnavailableError("the scheduler shuts down; try again soon");
    RETURN_IF_ERROR(inbox_.add(lane, caller, std::move(task)));
  }
  arrived_.notify_one();
  return absl::OkStatus();
}

void Loop::compact() {
  const State& state = scheduler_.state();
  SnapshotChange change;
  change.head = state.head();
  change.jobs.assign(state.changed().begin(), state.changed().end());
  change.body = [&state](uint64_t number) { return state.body(number); };
  change.removed.assign(state.removed().begin(), state.removed().end());
  const absl::Duration before = options_.clock->monotonic();
  if (absl::Status status = options_.journal->compact(change); !status.ok()) {
    log_warning("the journal stays long: ", std::string(status.message()));
    next_compact_ = before + absl::Minutes(1);
    return;
  }
  scheduler_.mark_saved();
  options_.metrics->compacted(options_.clock->monotonic() - before);
}

void Loop::compact_if_due(bool idle) {
  const int64_t events = options_.journal->events_since_snapshot();
  if (events < (idle ? options_.compact_idle : options_.compact_above)) return;
  if (options_.clock->monotonic() >= next_compact_) compact();
}

void Loop::run() {
  while (true) {
    bool last = false;
    bool idle = false;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      arrived_.wait_for(lock, kTick, [this] { return stopping_ || !inbox_.empty(); });
      idle = inbox_.empty();
      last = stopping_;
    }
    round(last);
    if (last) return;
    compact_if_due(idle);
  }
}

void Loop::arrive(Inbox::Task task) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    (void)inbox_.add(Lane::kFleet, "", std::move(task));
  }
  arrived_.notify_one();
}

void Loop::make_job_folder(const v1::JobState& job, const v1::AttemptId& id) {
  options_.folders->make(job.record().folder(), [this, id](const absl::Status& made) {
    arrive([id, made](Turn& turn) {
      if (made.ok()) return turn.scheduler.confirm_start(turn.now, id);
      const std::string reason = absl::StrCat("the scheduler cannot make the job's folder: ", made.message());
      log_warning("jobs/", id.job_id(), ": ", reason);
      turn.scheduler.refuse_start(turn.now, id, reason);
    });
  });
}

void Loop::take_away(const v1::FolderRemoval& removal) {
  options_.removals->perform([removal, remove = options_.remove] { return remove(removal); },
                             [this, id = removal.job_id()](const absl::Status& removed) {
                               arrive([this, id, removed](Turn& turn) {
                                 if (removed.ok()) return turn.scheduler.folder_removed(turn.now, id);
                                 log_warning("jobs/", id, " is deleted, but not all that it left: ", removed.message(),
                                             "; tried again in ", kRemovalPauseMs / 60'000, " min");
                                 removals_again_ms_[id] = turn.now.mono_ms + kRemovalPauseMs;
                               });
                             });
}

void Loop::take_away_again(Now now) {
  for (auto it = removals_again_ms_.begin(); it != removals_again_ms_.end();) {
    const auto removal = scheduler_.state().removals().find(it->first);
    if (now.mono_ms < it->second) {
      ++it;
      continue;
    }
    if (removal != scheduler_.state().removals().end()) take_away(removal->second);
    it = removals_again_ms_.erase(it);
  }
}

bool Loop::commit() {
  const std::vector<v1::JournalEvent> events = scheduler_.take_events();
  const absl::Duration before = options_.clock->monotonic();
  if (absl::Status status = options_.journal->append(events); !status.ok()) {
    log_error("the journal cannot be written, nothing is acknowledged and the scheduler ends: ",
              std::string(status.message()));
    options_.on_fatal(status);
    return false;
  }
  options_.metrics->committed(scheduler_, events, options_.clock->monotonic() - before);
  std::vector<v1::JobForgotten> forgotten;
  std::vector<std::string> workers;
  for (const v1::JournalEvent& event : events) {
    // Making it at submit would cost more than everything else that a submit does.
    if (event.has_attempt_reserved()) {
      const v1::AttemptId& id = event.attempt_reserved().id();
      make_job_folder(*scheduler_.state().job(id.job_id()), id);
    }
    if (event.has_job_deleted()) take_away(event.job_deleted().removal());
    if (event.has_job_forgotten()) forgotten.push_back(event.job_forgotten());
    if (event.job_forgotten().has_removal()) take_away(event.job_forgotten().removal());
    if (event.has_worker_forgotten()) workers.push_back(event.worker_forgotten().worker_id());
  }
  if (!workers.empty()) log_info("workers that are gone leave the list: ", absl::StrJoin(workers, ", "));
  tell_forgotten(forgotten);
  if (!forgotten.empty() && options_.on_forgotten) options_.on_forgotten(std::move(forgotten));
  return true;
}

void Loop::tell_forgotten(const std::vector<v1::JobForgotten>& forgotten) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const v1::JobForgotten& job : forgotten) {
    const char* what = !job.has_removal()             ? "records and logs"
                       : job.removal().kept().empty() ? "records, logs and folders"
                                                      : "records, logs and folders but for checkpoints";
    by_reason[absl::StrCat("deletes ", what, " of jobs of queue ", job.queue(), ", as ", job.by_age() ? "they " : "",
                           job.reason())]
        .push_back(job.job_id());
  }
  for (const auto& [reason, jobs] : by_reason)
    log_info(reason, ": ", count_text(jobs.size(), "job"), ", ", absl::StrJoin(jobs, ", "));
}

// What has come by now, as far as the time reaches, and at least one.
void Loop::run_lane(Lane lane, Turn& turn, absl::Duration most) {
  const absl::Duration begun = options_.clock->monotonic();
  size_t left = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    left = inbox_.size(lane);
  }
  for (; left > 0; --left) {
    std::optional<Inbox::Task> task;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      task = inbox_.take(lane);
    }
    (*task)(turn);
    if (options_.clock->monotonic() - begun >= most) return;
  }
}

void Loop::round(bool all) {
  if (const absl::Status standing = options_.journal->standing(); !standing.ok()) {
    log_error("nothing is decided any more and the scheduler ends: ", std::string(standing.message()));
    return options_.on_fatal(standing);
  }
  const Now time = now();
  if (const std::string told = clock_watch_.look(time); !told.empty()) log_warning(told);
  std::vector<std::function<void()>> after_commit;
  Turn turn{scheduler_, time, after_commit};
  take_away_again(time);
  run_lane(Lane::kFleet, turn, absl::InfiniteDuration());
  run_lane(Lane::kChanges, turn, all ? absl::InfiniteDuration() : kTimeForChanges);
  run_lane(Lane::kReads, turn, all ? absl::InfiniteDuration() : kTimeForReads);
  const absl::Duration before_pass = options_.clock->monotonic();
  scheduler_.tick(time);
  if (all) scheduler_.shut_down(time);
  if (scheduler_.placed_in_last_tick()) options_.metrics->decided(options_.clock->monotonic() - before_pass);
  if (scheduler_.has_events() && !commit()) return;
  for (const auto& task : after_commit) task();
  for (const auto& observer : observers_) observer(scheduler_, time);
  if (const absl::Duration moment = options_.clock->monotonic(); moment - last_gauges_ > absl::Milliseconds(500)) {
    options_.metrics->gauges(scheduler_);
    last_gauges_ = moment;
  }
  scheduler_.round_over();
}

}  // namespace galleon::server

#include "tests/sim/cluster.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr int64_t kQuietMs = 600'000;
constexpr int64_t kTickMs = 100;

}  // namespace

Cluster::Cluster(Script script, Fault fault)
    : script_(std::move(script)), fault_(fault), random_(script_.seed), folders_(script_.seed), promises_(&options_) {
  promises_.expect_exact_use(script_.steps.empty());
  for (const Step& step : script_.steps)
    if (step.kind == Step::Kind::kClockJump) promises_.expect_clock_jumps();
  options_.version = std::string("1");
  options_.queues = script_.queues;
  options_.lease_ms = 4'000;
  options_.sync_ms = 500;
  options_.reservation_ms = 6'000;
  options_.straggler_ms = 5'000;
  options_.stop_grace_ms = 2'000;
  options_.first_backoff_ms = 100;
  options_.longest_backoff_ms = 1'000;
  options_.longest_outside_backoff_ms = 3'000;
  // In a crowd much longer than a guarantee may wait.
  options_.preempted_run_ms = script_.streams.empty() ? 2'000 : 60'000;
  options_.borrower_run_ms = 1'000;
  options_.overdue_ms = 10'000;
  options_.gone_retention_ms = 15'000;
  options_.long_wait_ms = 3'000;
  options_.jobs_folder = "/jobs";
  for (size_t i = 0; i < script_.slots.size(); ++i) {
    auto machine = std::make_unique<Machine>();
    v1::Worker& worker = machine->worker;
    worker.set_worker_id(absl::StrCat("w", i));
    worker.set_version("1");
    worker.set_incarnation(absl::StrCat("i", i));
    worker.set_slots(script_.slots[i]);
    // Slower than true by less than the tenth that leases are held longer for it.
    machine->clock_rate = std::uniform_real_distribution<double>(0.95, 1.07)(random_);
    (*worker.mutable_labels())["rack"] = absl::StrCat(i % 2);
    for (uint32_t slot = 0; slot < worker.slots(); ++slot) {
      worker.add_devices()->set_free_memory_bytes(1 << 30);
      worker.mutable_devices(static_cast<int>(slot))->set_healthy(true);
    }
    machines_.push_back(std::move(machine));
  }
  recover();
}

void Cluster::at(int64_t delay_ms, std::function<void()> action) {
  actions_.push({now_ms_ + delay_ms, ++order_, std::move(action)});
}

void Cluster::network(std::function<void()> delivery) {
  if (chance(faults(script_.lost))) return;
  const int copies = chance(faults(script_.doubled)) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    const int64_t delay = chance(faults(script_.late)) ? between(500, 6'000) : between(1, 60);
    // Who is called may be the scheduler that was the writer before.
    const uint64_t life = other_.scheduler != nullptr && chance(0.5) ? other_.life : life_;
    at(delay, [this, delivery, life] { as(life, delivery); });
  }
}

std::string Cluster::run() {
  for (const Step& step : script_.steps) {
    if (step.kind != Step::Kind::kCrash && step.kind != Step::Kind::kTakeover)
      at(step.time_ms, [this, &step] { take(step); });
  }
  const std::function<void()> tick = [this, &tick] {
    if (script_.stands_by) terms_tick();
    scheduler_tick();
    if (quiet_) undrain();
    if (quiet_) release_all();
    if (!script_.streams.empty()) crowd();
    for (const auto& machine : machines_) machine_tick(*machine);
    check_physical();
    at(kTickMs, tick);
  };
  at(0, tick);
  at(kChaosMs, [this] {
    quiet_ = true;
    term_.hangs_until_ms = other_.term.hangs_until_ms = 0;
    reconfigure(script_.queues);
    for (const auto& machine : machines_) {
      machine->asleep_until_ms = 0;
      machine->leaving = false;
      machine->broken_until_ms = 0;
    }
  });
  const int64_t until_ms = script_.runs_long() ? kCrowdMs : kChaosMs + kQuietMs;
  while (promises_.broken().empty() && now_ms_ < until_ms) {
    Action next = actions_.top();
    actions_.pop();
    now_ms_ = next.time_ms;
    next.run();
    if (other_is_newer_) swap_schedulers();
    other_is_newer_ = false;
    if (quiet_ && (script_.streams.empty() || now_ms_ > kCrowdMs) && scheduler_ != nullptr && all_ended() &&
        shadow_.removals().empty())
      break;
  }
  if (!promises_.broken().empty() || script_.runs_long()) return promises_.broken();
  if (!all_ended()) {
    for (const auto& [number, entry] : shadow_.jobs()) {
      const v1::JobState* job = shadow_.job_by_number(number);
      if (!is_terminal(job->record().state())) {
        return absl::StrCat(
            "every job comes to its end: ", job->record().job_id(), " is ",
            v1::JobRecord::State_Name(job->record().state()), ": ",
            scheduler_ == nullptr
                ? ""
                : scheduler_->describe(*scheduler_->state().job(job->record().job_id()), now()).message());
      }
    }
  }
  promises_.require(shadow_.removals().empty(), "the folder of a deleted job is taken away");
  for (const std::string& id : acknowledged_jobs_)
    promises_.require(shadow_.job(id) != nullptr, "an acknowledged submit survives");
  for (const std::string& id : acknowledged_cancels_) {
    promises_.require(shadow_.job(id)->record().state() == v1::JobRecord::CANCELLED, "an acknowledged cancel survives");
  }
  for (const auto& [id, point] : acknowledged_checkpoints_) {
    const v1::PublishedCheckpoint& newest = shadow_.job(id)->record().checkpoint();
    promises_.require(std::make_pair(newest.epoch(), newest.step()) >= point, "an acknowledged checkpoint survives");
  }
  promises_.check_groups(shadow_);
  promises_.require(scheduler_ == nullptr ||
                        shadow_.to_proto().SerializeAsString() == scheduler_->state().to_proto().SerializeAsString(),
                    "replay is the program");
  for (const auto& [number, entry] : shadow_.jobs()) {
    const v1::JobState* job = shadow_.job_by_number(number);
    const v1::JobRecord::State state = job->record().state();
    tally.succeeded += state == v1::JobRecord::SUCCEEDED;
    tally.failed += state == v1::JobRecord::FAILED;
    tally.cancelled += state == v1::JobRecord::CANCELLED;
    tally.dependants_failed += absl::StartsWith(job->record().message(), "was to run after");
    tally.attempts += job->attempts_size();
    for (const v1::AttemptState& attempt : job->attempts())
      tally.lost += attempt.attempt().outcome() == v1::Attempt::LOST;
  }
  return promises_.broken();
}

bool Cluster::all_ended() const {
  return std::all_of(shadow_.jobs().begin(), shadow_.jobs().end(),
                     [](const auto& entry) { return is_terminal(entry.second.state()); });
}

// True: what was decided is durable and may be told. A crash comes before or after the commit.
bool Cluster::commit() {
  std::vector<v1::JournalEvent> events = scheduler_->take_events();
  if (events.empty()) return true;
  ++commits_;
  const auto crashes = [this](bool after) {
    return std::any_of(script_.steps.begin(), script_.steps.end(), [&](const Step& step) {
      return step.kind == Step::Kind::kCrash && step.commit == commits_ && step.after == after;
    });
  };
  if (crashes(false)) {
    crash();
    return false;
  }
  if (script_.stands_by) {
    take_over_in_commit(false);
    if (!store_takes(events.size())) return false;
  }
  std::vector<v1::AttemptId> without_folder;
  std::vector<v1::AttemptId> with_folder;
  std::vector<std::string> deleted;
  tell_fleet();
  for (v1::JournalEvent& event : events) {
    if (event.has_attempt_reserved()) {
      const bool fails = chance(folders_, faults(script_.no_folder));
      (fails ? without_folder : with_folder).push_back(event.attempt_reserved().id());
      // What the epochs are for: nothing of an earlier attempt runs any more when the next one begins.
      for (const auto& machine : machines_) {
        // A frozen process does nothing, and one that has just gone on is fenced.
        if (now_ms_ < machine->zombies_until_ms + kTickMs) continue;
        for (const Trainer& trainer : machine->trainers) {
          promises_.require(!trainer.alive() || trainer.report.id().job_id() != event.attempt_reserved().id().job_id(),
                            "no process of an earlier attempt lives");
        }
      }
    }
    count(event);
    if (event.has_rank_released()) check_exit(event.rank_released());
    promises_.before(event, shadow_, now_ms_);
    if (!promises_.broken().empty()) return false;
    shadow_.apply(event);
    promises_.after(event, shadow_);
    // What somebody has go on, or has taken away, is as that order says from now on.
    if (event.has_job_resumed()) acknowledged_cancels_.erase(event.job_resumed().job_id());
    if (event.has_job_deleted() || event.has_job_forgotten()) {
      const std::string& id = event.has_job_deleted() ? event.job_deleted().job_id() : event.job_forgotten().job_id();
      if (event.has_job_deleted() || event.job_forgotten().has_removal()) deleted.push_back(id);
      acknowledged_jobs_.erase(id);
      acknowledged_cancels_.erase(id);
      acknowledged_checkpoints_.erase(id);
    }
    journal_.push_back(std::move(event));
  }
  term_.written = journal_.size();
  if (crashes(true)) {
    crash();
    return false;
  }
  if (script_.stands_by) take_over_in_commit(true);
  for (const std::string& id : deleted) take_away_folder(id);
  for (const v1::AttemptId& id : with_folder) make_folder(id);
  for (const v1::AttemptId& id : without_folder) scheduler_->refuse_start(now(), id, "no folder");
  if (!commit()) return false;
  for (const v1::AttemptId& id : without_folder) refused_starts_.insert(id.epoch());
  tally.refused_starts += static_cast<int64_t>(without_folder.size());
  return true;
}

// Whom the scheduler can count on, as it knows them.
void Cluster::tell_fleet() {
  uint32_t slots = 0;
  std::map<std::string, uint32_t> open;
  for (const auto& [id, live] : scheduler_->fleet().workers) {
    const v1::Worker* worker = scheduler_->state().worker(id);
    if (worker == nullptr || worker->state() == v1::Worker::GONE || live.leaving) continue;
    slots += static_cast<uint32_t>(live.devices.size());
    if (worker->state() == v1::Worker::READY) open[id] = static_cast<uint32_t>(live.devices.size());
  }
  promises_.see_fleet(slots, open);
}

// At once, or after some time in which the file system does not answer.
void Cluster::make_folder(const v1::AttemptId& id) {
  const auto made = [this, id] {
    with_folder_.insert(id.epoch());
    scheduler_->confirm_start(now(), id);
  };
  if (!chance(folders_, faults(0.2))) return made();
  at(between(folders_, 1, 5'000), [this, made, life = life_] { as(life, made); });
}

void Cluster::take_away_folder(const std::string& job_id) {
  at(between(folders_, 1, 5'000), [this, job_id, life = life_] {
    as(life, [this, job_id] {
      scheduler_->folder_removed(now(), job_id);
      (void)commit();
    });
  });
}

void Cluster::count(const v1::JournalEvent& event) {
  const v1::StopOrder::Cause cause = event.stop_ordered().stop().cause();
  tally.workers_gone += event.has_worker_gone();
  tally.place_faults += event.rank_released().exit().kind() == v1::RankExit::PLACE_FAILED;
  tally.cordoned_itself +=
      event.worker_ordered().by_scheduler() && event.worker_ordered().ordered() != v1::Worker::READY;
  tally.preempted += cause == v1::StopOrder::PREEMPTED;
  tally.drained += cause == v1::StopOrder::DRAINED;
  tally.requeued += cause == v1::StopOrder::REQUEUED;
  tally.held += event.has_job_held();
  tally.groups += event.has_group_created();
  tally.rungs += event.has_rung_decided();
  tally.halved += cause == v1::StopOrder::HALVED;
  tally.yielded += cause == v1::StopOrder::YIELDED;
  if (event.has_attempt_reserved()) {
    const std::string& queue = shadow_.job(event.attempt_reserved().id().job_id())->record().queue();
    tally.turns += shadow_.usage().half_lives_ms().contains(queue);
  }
  tally.resumed += event.has_job_resumed();
  tally.deleted += event.has_job_deleted();
  tally.forgotten += event.has_job_forgotten();
  tally.timed_out += absl::StartsWith(event.job_ended().message(), "did not start within");
}

void Cluster::crash() {
  ++tally.crashes;
  scheduler_.reset();
  if (term_.number != store_term_) return;
  promises_.forget_groups();
  life_ = ++lives_;
  at(between(10, 3'000), [this] { recover(); });
}

void Cluster::recover() {
  if (chance(0.3)) {
    snapshot_ = shadow_.to_proto();
    snapshot_at_ = journal_.size();
  }
  scheduler_ = std::make_unique<Scheduler>(options_);
  if (snapshot_at_ > 0) scheduler_->restore(snapshot_);
  for (size_t i = snapshot_at_; i < journal_.size(); ++i) scheduler_->replay(journal_[i]);
  begin_term();
  scheduler_->recovered(now());
  for (const auto& [id, removal] : scheduler_->state().removals()) take_away_folder(id);
  for (const uint64_t number : scheduler_->state().active()) {
    const v1::JobState& job = *scheduler_->state().job_by_number(number);
    const v1::AttemptState* attempt = live_attempt(job);
    if (attempt == nullptr) continue;
    v1::AttemptId id;
    id.set_job_id(job.record().job_id());
    id.set_attempt(attempt->attempt().number());
    id.set_epoch(attempt->attempt().epoch());
    make_folder(id);
  }
}

void Cluster::scheduler_tick() {
  if (scheduler_ == nullptr || now_ms_ < term_.hangs_until_ms) return;
  scheduler_->tick(now());
  if (!commit()) return;
  scheduler_->round_over();
  promises_.see_groups(shadow_, now(), quiet_);
}

// Once it is quiet, every worker takes work again.
void Cluster::undrain() {
  for (const auto& machine : machines_) {
    if (scheduler_ == nullptr) return;
    const v1::Worker* worker = scheduler_->state().worker(machine->worker.worker_id());
    // What the scheduler ordered by itself it has to take back by itself.
    if (worker != nullptr && worker->ordered_by_scheduler()) continue;
    (void)scheduler_->order_worker(now(), machine->worker.worker_id(), v1::Worker::READY, "", "");
    (void)commit();
  }
}

// And nobody is held any more.
void Cluster::release_all() {
  std::vector<std::string> held;
  for (const auto& [key, job] : shadow_.queue())
    if (job->record().held()) held.push_back(job->record().job_id());
  for (const uint64_t number : shadow_.active()) {
    const v1::JobRecord& record = shadow_.job_by_number(number)->record();
    if (record.held()) held.push_back(record.job_id());
  }
  for (const std::string& id : held) {
    if (scheduler_ == nullptr) return;
    v1::ReleaseJobRequest request;
    request.set_name(id);
    (void)scheduler_->release(now(), request);
    (void)commit();
  }
}

void Cluster::take(const Step& step) {
  Random random(step.seed);
  switch (step.kind) {
    case Step::Kind::kSubmit:
      return submit(random);
    case Step::Kind::kSweep:
      return sweep(random);
    case Step::Kind::kCancel:
      return cancel(random);
    case Step::Kind::kReprioritize:
      return reprioritize(random);
    case Step::Kind::kHold:
      return hold(random);
    case Step::Kind::kRequeue:
    case Step::Kind::kResume:
    case Step::Kind::kDelete:
      return order_job(step, random);
    case Step::Kind::kOrder:
      return order(random);
    case Step::Kind::kReconfigure:
      return reconfigure(random);
    case Step::Kind::kHang:
      term_.hangs_until_ms = now_ms_ + between(random, 500, 9'000);
      return;
    case Step::Kind::kClockJump:
      clock_offset_ms_ += between(random, -7'200'000, 7'200'000);
      return;
    default:
      return disturb(step, random);
  }
}

std::string Cluster::history(size_t most) const {
  std::vector<v1::Event> events;
  (void)shadow_.events_after(0, "", 1'000'000, events);
  std::string text;
  for (size_t i = events.size() > most ? events.size() - most : 0; i < events.size(); ++i) {
    absl::StrAppend(&text, events[i].time_ms() - 1'700'000'000'000, " ms ", events[i].subject(), " ", events[i].kind(),
                    events[i].message().empty() ? "" : ": ", events[i].message(), "\n");
  }
  return text;
}

}  // namespace galleon::server

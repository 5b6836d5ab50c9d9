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
    : script_(std::move(script)), fault_(fault), random_(script_.seed), promises_(&options_.queues, 2'000) {
  options_.version = std::string("1");
  options_.queues = script_.queues;
  options_.lease_ms = 4'000;
  options_.sync_ms = 500;
  options_.reservation_ms = 6'000;
  options_.straggler_ms = 5'000;
  options_.stop_grace_ms = 2'000;
  options_.first_backoff_ms = 100;
  options_.longest_backoff_ms = 1'000;
  options_.preempted_run_ms = 2'000;
  options_.gone_retention_ms = 15'000;
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
    at(delay, [this, delivery, life = life_] {
      if (scheduler_ != nullptr && life == life_) delivery();
    });
  }
}

std::string Cluster::run() {
  for (const Step& step : script_.steps) {
    if (step.kind != Step::Kind::kCrash) at(step.time_ms, [this, &step] { take(step); });
  }
  const std::function<void()> tick = [this, &tick] {
    scheduler_tick();
    if (quiet_) undrain();
    for (const auto& machine : machines_) machine_tick(*machine);
    check_physical();
    at(kTickMs, tick);
  };
  at(0, tick);
  at(kChaosMs, [this] {
    quiet_ = true;
    for (const auto& machine : machines_) {
      machine->asleep_until_ms = 0;
      machine->leaving = false;
    }
  });
  while (promises_.broken().empty() && now_ms_ < kChaosMs + kQuietMs) {
    Action next = actions_.top();
    actions_.pop();
    now_ms_ = next.time_ms;
    next.run();
    if (quiet_ && scheduler_ != nullptr && all_ended()) break;
  }
  if (!promises_.broken().empty()) return promises_.broken();
  if (!all_ended()) {
    for (const auto& [number, job] : shadow_.jobs()) {
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
  for (const std::string& id : acknowledged_jobs_)
    promises_.require(shadow_.job(id) != nullptr, "an acknowledged submit survives");
  for (const std::string& id : acknowledged_cancels_) {
    promises_.require(shadow_.job(id)->record().state() == v1::JobRecord::CANCELLED, "an acknowledged cancel survives");
  }
  for (const auto& [id, point] : acknowledged_checkpoints_) {
    const v1::PublishedCheckpoint& newest = shadow_.job(id)->record().checkpoint();
    promises_.require(std::make_pair(newest.epoch(), newest.step()) >= point, "an acknowledged checkpoint survives");
  }
  promises_.require(scheduler_ == nullptr ||
                        shadow_.to_proto().SerializeAsString() == scheduler_->state().to_proto().SerializeAsString(),
                    "replay is the program");
  for (const auto& [number, job] : shadow_.jobs()) {
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
                     [](const auto& entry) { return is_terminal(entry.second->record().state()); });
}

// ---- Scheduler

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
  for (v1::JournalEvent& event : events) {
    if (event.has_attempt_reserved()) {
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
    tally.workers_gone += event.has_worker_gone();
    tally.preempted += event.stop_ordered().stop().cause() == v1::StopOrder::PREEMPTED;
    tally.drained += event.stop_ordered().stop().cause() == v1::StopOrder::DRAINED;
    if (event.has_rank_released()) check_exit(event.rank_released());
    promises_.before(event, shadow_, now_ms_);
    if (!promises_.broken().empty()) return false;
    shadow_.apply(event);
    promises_.after(event, shadow_);
    journal_.push_back(std::move(event));
  }
  if (crashes(true)) {
    crash();
    return false;
  }
  return true;
}

void Cluster::crash() {
  ++tally.crashes;
  scheduler_.reset();
  ++life_;
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
  scheduler_->recovered(now());
}

void Cluster::scheduler_tick() {
  if (scheduler_ == nullptr) return;
  scheduler_->tick(now());
  (void)commit();
}

// Once it is quiet, every worker takes work again.
void Cluster::undrain() {
  for (const auto& machine : machines_) {
    if (scheduler_ == nullptr) return;
    (void)scheduler_->order_worker(now(), machine->worker.worker_id(), v1::Worker::READY, "", "");
    (void)commit();
  }
}

// ---- Machines

void Cluster::take(const Step& step) {
  Random random(step.seed);
  switch (step.kind) {
    case Step::Kind::kSubmit:
      return submit(random);
    case Step::Kind::kCancel:
      return cancel(random);
    case Step::Kind::kReprioritize:
      return reprioritize(random);
    case Step::Kind::kOrder:
      return order(random);
    case Step::Kind::kClockJump:
      clock_offset_ms_ += between(random, -7'200'000, 7'200'000);
      return;
    default:
      return disturb(step, random);
  }
}

void Cluster::disturb(const Step& step, Random& random) {
  Machine& machine = *machines_[static_cast<size_t>(between(random, 0, static_cast<int64_t>(machines_.size()) - 1))];
  switch (step.kind) {
    case Step::Kind::kSleep:
      machine.asleep_until_ms = now_ms_ + between(random, 500, 12'000);
      break;
    case Step::Kind::kFreeze:
      machine.frozen_until_ms = now_ms_ + between(random, 500, 12'000);
      machine.asleep_until_ms = machine.frozen_until_ms;
      machine.zombies_until_ms = machine.frozen_until_ms + between(random, 0, 1'000);
      break;
    case Step::Kind::kPowerOff:
      machine.trainers.clear();
      [[fallthrough]];
    case Step::Kind::kRestart:
      machine.registered = false;
      machine.sent_ms = -1;
      machine.asleep_until_ms = now_ms_ + between(random, 100, 8'000);
      break;
    case Step::Kind::kLeave:
      machine.leaving = !machine.leaving;
      break;
    default:
      for (Trainer& trainer : machine.trainers) {
        if (!trainer.alive() || !chance(random, 0.5)) continue;
        const bool killed = step.kind == Step::Kind::kKill;
        end_trainer(trainer, killed ? v1::Finished::OUTCOME_UNSPECIFIED : v1::Finished::FAILED, killed ? 9 : 0, false);
      }
  }
}

void Cluster::end_trainer(Trainer& trainer, v1::Finished::Outcome outcome, int signal, bool by_daemon) {
  exits_[{trainer.report.id().epoch(), trainer.report.rank()}] = outcome;
  trainer.report.set_phase(v1::RankReport::EXITED);
  if (outcome != v1::Finished::OUTCOME_UNSPECIFIED) trainer.report.mutable_finished()->set_outcome(outcome);
  trainer.report.set_exit_signal(signal);
  trainer.report.set_signalled_by_daemon(by_daemon);
}

void Cluster::machine_tick(Machine& machine) {
  if (now_ms_ < machine.frozen_until_ms) return;
  // Trainers end themselves when their lease does, whether their daemon is awake or not.
  for (Trainer& trainer : machine.trainers) {
    if (!trainer.alive()) continue;
    if (now_ms_ > machine.lease_end_ms && now_ms_ >= machine.zombies_until_ms) {
      end_trainer(trainer, chance(0.5) ? v1::Finished::STOPPED : v1::Finished::OUTCOME_UNSPECIFIED, 0, true);
    } else {
      trainer_tick(machine, trainer);
    }
  }
  if (now_ms_ < machine.asleep_until_ms) return;
  for (Trainer& trainer : machine.trainers) {
    if (trainer.alive() && trainer.dead_line_ms >= 0 && now_ms_ >= trainer.dead_line_ms) {
      end_trainer(trainer, v1::Finished::OUTCOME_UNSPECIFIED, 9, true);
    }
  }
  if (machine.sent_ms >= 0 && now_ms_ - machine.sent_ms < 2'000) return;
  if (scheduler_ == nullptr) return;
  if (!machine.registered) {
    send_register(machine);
  } else if (machine.sent_ms < 0 || now_ms_ - machine.sent_ms >= 2'000) {
    if (chance(0.4)) send_sync(machine);
  }
}

void Cluster::trainer_tick(Machine& machine, Trainer& trainer) {
  v1::RankReport& report = trainer.report;
  if (report.phase() == v1::RankReport::LAUNCHING) {
    if (!chance(0.3)) return;
    report.set_phase(v1::RankReport::RUNNING);
    report.set_rendezvous_payload(absl::StrCat("rank ", report.rank()));
    return;
  }
  if (trainer.stop_at_ms >= 0 && now_ms_ >= trainer.stop_at_ms) {
    return end_trainer(trainer, v1::Finished::STOPPED, 0, false);
  }
  if (trainer.publishing != 0 || !chance(0.5)) return;
  const uint64_t step = report.progress().step() + 1;
  report.mutable_stage()->set_name("train");
  report.mutable_progress()->set_step(step);
  if (report.rank() == 0 && (step % 5 == 0 || step >= trainer.steps)) {
    trainer.publishing = step;
    publish(machine, trainer, step);
  } else if (step >= trainer.steps) {
    end_trainer(trainer, v1::Finished::SUCCEEDED, 0, false);
  }
}

Cluster::Trainer* Cluster::find(Machine& machine, const v1::AttemptId& id, uint32_t rank) {
  for (Trainer& trainer : machine.trainers) {
    if (trainer.report.id().job_id() == id.job_id() && trainer.report.id().epoch() == id.epoch() &&
        trainer.report.rank() == rank) {
      return &trainer;
    }
  }
  return nullptr;
}

void Cluster::publish(Machine& machine, Trainer& trainer, uint64_t step) {
  v1::PublishCheckpointRequest request;
  *request.mutable_id() = trainer.report.id();
  request.set_step(step);
  request.set_worker_id(machine.worker.worker_id());
  Machine* m = &machine;
  network([this, request, m] {
    const absl::Status status = scheduler_->publish_checkpoint(now(), request);
    if (!commit()) return;
    if (status.ok()) {
      auto& point = acknowledged_checkpoints_[request.id().job_id()];
      point = std::max(point, std::make_pair(request.id().epoch(), request.step()));
      ++tally.checkpoints;
    } else {
      ++tally.refused_checkpoints;
    }
    network([this, request, m, status] {
      Trainer* waiting = find(*m, request.id(), 0);
      if (waiting == nullptr || !waiting->alive() || waiting->publishing != request.step()) return;
      waiting->publishing = 0;
      if (!status.ok()) return end_trainer(*waiting, v1::Finished::FAILED, 0, false);
      if (request.step() >= waiting->steps) end_trainer(*waiting, v1::Finished::SUCCEEDED, 0, false);
    });
  });
  // An answer that does not come is asked for again.
  at(1'500, [this, m, id = request.id(), step] {
    Trainer* waiting = find(*m, id, 0);
    if (waiting != nullptr && waiting->alive() && waiting->publishing == step) publish(*m, *waiting, step);
  });
}

void Cluster::send_register(Machine& machine) {
  machine.sent_ms = now_ms_;
  Machine* m = &machine;
  network([this, m, sent = now_ms_] {
    const absl::Status status = scheduler_->register_worker(now(), m->worker);
    if (!commit() || !status.ok()) return;
    network([m, sent, session = scheduler_->session(m->worker.worker_id())] {
      if (m->sent_ms != sent || m->registered) return;
      m->sent_ms = -1;
      m->registered = true;
      m->sequence = 0;
      m->session = session;
    });
  });
}

void Cluster::send_sync(Machine& machine) {
  v1::SyncWorkerRequest request;
  request.set_worker_id(machine.worker.worker_id());
  request.set_incarnation(machine.worker.incarnation());
  request.set_sequence(++machine.sequence);
  request.set_leaving(machine.leaving);
  request.set_session(machine.session);
  for (const Trainer& trainer : machine.trainers) *request.add_ranks() = trainer.report;
  machine.sent_ms = now_ms_;
  Machine* m = &machine;
  network([this, m, request, sent = now_ms_] {
    const absl::Status status = scheduler_->sync(now(), request);
    if (!commit()) return;
    const auto answer = [this, m, request, sent, status] {
      v1::SyncWorkerResponse response;
      if (status.ok()) response = scheduler_->assignments(now(), request.worker_id(), request.sequence());
      network([this, m, request, sent, status, response] {
        if (m->sent_ms != sent || m->sequence != request.sequence() || now_ms_ < m->asleep_until_ms) return;
        m->sent_ms = -1;
        if (!status.ok()) {
          m->registered = false;
        } else {
          take_answer(*m, response, sent);
        }
      });
    };
    if (chance(0.5)) return answer();
    at(between(1, 400), [this, answer, life = life_] {
      if (scheduler_ != nullptr && life == life_) answer();
    });
  });
}

void Cluster::take_answer(Machine& machine, const v1::SyncWorkerResponse& response, int64_t sent_ms) {
  const double lease_ms = static_cast<double>(response.lease_milliseconds()) * machine.clock_rate;
  machine.lease_end_ms = std::max(machine.lease_end_ms, sent_ms + static_cast<int64_t>(lease_ms));
  std::set<std::pair<uint64_t, uint32_t>> listed;
  for (const v1::Assignment& assignment : response.assignments()) {
    listed.emplace(assignment.id().epoch(), assignment.rank());
    Trainer* held = find(machine, assignment.id(), assignment.rank());
    if (held == nullptr && !assignment.stop() && now_ms_ < machine.lease_end_ms) {
      for (const Trainer& other : machine.trainers) {
        promises_.require(!other.alive() || other.slot != assignment.slot(), "one process on a slot");
      }
      Trainer& trainer = machine.trainers.emplace_back();
      *trainer.report.mutable_id() = assignment.id();
      trainer.report.set_rank(assignment.rank());
      trainer.report.set_phase(v1::RankReport::LAUNCHING);
      trainer.report.mutable_progress()->set_step(assignment.resume_step());
      trainer.slot = assignment.slot();
      trainer.steps = 10 + assignment.job().training().steps();
      promises_.require(assignment.has_job(), "a rank that is not held comes with its job");
    } else if (held != nullptr && held->alive() && assignment.stop()) {
      const int64_t grace = static_cast<int64_t>(assignment.stop_grace_milliseconds());
      if (grace == 0) {
        end_trainer(*held, v1::Finished::OUTCOME_UNSPECIFIED, 9, true);
      } else if (held->stop_at_ms < 0) {
        held->stop_at_ms = now_ms_ + between(0, 2 * grace);
        held->dead_line_ms = now_ms_ + grace;
      }
    }
  }
  std::erase_if(machine.trainers, [&](const Trainer& trainer) {
    return !listed.contains({trainer.report.id().epoch(), trainer.report.rank()});
  });
}

void Cluster::check_exit(const v1::RankReleased& released) {
  v1::Finished::Outcome said = v1::Finished::OUTCOME_UNSPECIFIED;
  if (released.exit().kind() == v1::RankExit::SUCCEEDED) said = v1::Finished::SUCCEEDED;
  if (released.exit().kind() == v1::RankExit::FAILED) said = v1::Finished::FAILED;
  if (released.exit().kind() == v1::RankExit::STOPPED) said = v1::Finished::STOPPED;
  if (said == v1::Finished::OUTCOME_UNSPECIFIED && released.exit().kind() != v1::RankExit::SIGNALLED &&
      released.exit().kind() != v1::RankExit::ENDED_BY_DAEMON)
    return;
  const auto it = exits_.find({released.id().epoch(), released.rank()});
  promises_.require(it != exits_.end() && it->second == said, "what a process did counts for its own attempt alone");
}

void Cluster::check_physical() {
  for (const auto& machine : machines_) {
    std::set<uint32_t> slots;
    for (const Trainer& trainer : machine->trainers) {
      if (trainer.alive()) promises_.require(slots.insert(trainer.slot).second, "one process on a slot");
    }
  }
}

// ---- Users

void Cluster::submit(Random& random) {
  v1::Job job;
  job.set_name("job");
  const QueueConfig& queue =
      script_.queues[static_cast<size_t>(between(random, 0, static_cast<int64_t>(script_.queues.size()) - 1))];
  const int64_t most = std::min<int64_t>(queue.limit == 0 ? script_.total_slots() : queue.limit, 4);
  const uint32_t ranks = static_cast<uint32_t>(between(random, 1, std::min<int64_t>(script_.total_slots(), most)));
  job.mutable_parallel()->set_ranks(ranks);
  job.mutable_training()->set_steps(static_cast<uint64_t>(between(random, 0, 30)));
  job.mutable_scheduling()->set_queue(queue.id);
  job.mutable_scheduling()->set_priority(static_cast<int32_t>(between(random, 0, 2)));
  job.mutable_scheduling()->set_max_retries(static_cast<uint32_t>(between(random, 0, 3)));
  uint32_t promised = 0;
  for (const QueueConfig& other : script_.queues) promised += other.id == queue.id ? 0 : other.guaranteed;
  // What is not preemptible never gets what others are guaranteed.
  job.mutable_scheduling()->set_preemptible(ranks + promised > script_.total_slots() || chance(random, 0.7));
  if (chance(random, 0.2)) job.mutable_scheduling()->set_time_limit(static_cast<uint64_t>(between(random, 1, 20)));
  if (const std::string* before = any_job(random); before != nullptr && chance(random, 0.3))
    job.mutable_scheduling()->add_after(*before);
  v1::MemoryPlan plan;
  for (uint32_t i = 0; i < ranks; ++i) plan.add_ranks()->set_peak_bytes(1 << 20);
  const std::string request_id = absl::StrCat("r", random());
  // Sent again until it is answered: the request_id keeps it one job.
  auto attempt = std::make_shared<std::function<void()>>();
  *attempt = [this, job, plan, request_id, weak = std::weak_ptr(attempt), answered = std::make_shared<bool>(false)] {
    const auto self = weak.lock();
    if (*answered || self == nullptr) return;
    network([this, job, plan, request_id, answered] {
      const absl::StatusOr<std::string> id =
          scheduler_->submit(now(), {job, plan, request_id, "/jobs", scheduler_->next_number()});
      const bool durable = commit() || fault_ == Fault::kAnswersBeforeCommit;
      if (!durable || !id.ok()) return;
      acknowledged_jobs_.insert(*id);
      *answered = true;
    });
    at(700, [self] { (*self)(); });
  };
  (*attempt)();
}

const std::string* Cluster::any_job(Random& random) const {
  if (acknowledged_jobs_.empty()) return nullptr;
  auto it = acknowledged_jobs_.begin();
  std::advance(it, between(random, 0, static_cast<int64_t>(acknowledged_jobs_.size()) - 1));
  return &*it;
}

void Cluster::cancel(Random& random) {
  const std::string* job = any_job(random);
  if (job == nullptr) return;
  network([this, id = *job] {
    const absl::Status status = scheduler_->cancel(now(), id, "", "");
    if (commit() && status.ok()) acknowledged_cancels_.insert(id);
  });
}

void Cluster::reprioritize(Random& random) {
  const std::string* job = any_job(random);
  if (job == nullptr) return;
  v1::ReprioritizeJobRequest request;
  request.set_name(*job);
  request.set_priority(static_cast<int32_t>(between(random, 0, 4)));
  if (chance(random, 0.3)) request.set_queue(script_.queues.back().id);
  network([this, request] {
    (void)scheduler_->reprioritize(now(), request);
    (void)commit();
  });
}

void Cluster::order(Random& random) {
  const Machine& machine =
      *machines_[static_cast<size_t>(between(random, 0, static_cast<int64_t>(machines_.size()) - 1))];
  const v1::Worker::State kinds[] = {v1::Worker::READY, v1::Worker::CORDONED, v1::Worker::DRAINING,
                                     v1::Worker::DRAINING};
  const v1::Worker::State ordered = kinds[between(random, 0, 3)];
  network([this, id = machine.worker.worker_id(), ordered] {
    (void)scheduler_->order_worker(now(), id, ordered, "", "");
    (void)commit();
  });
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

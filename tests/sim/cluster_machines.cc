// Workers and their trainers: what disturbs them, what they do as time passes, and what they say to the scheduler.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/sim/cluster.h"

namespace galleon::server {

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
    case Step::Kind::kBreak:
      machine.broken_until_ms = now_ms_ + between(random, 3'000, 20'000);
      machine.fault = static_cast<v1::PlaceFault>(between(random, v1::PLACE_FAULT_CERTAIN, v1::PLACE_FAULT_OUTSIDE));
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
  for (const uint64_t rung : trainer.rungs) {
    const bool told = std::any_of(report.rungs().begin(), report.rungs().end(),
                                  [rung](const v1::RungLoss& loss) { return loss.rung() == rung; });
    if (report.rank() != 0 || step < rung || told) continue;
    v1::RungLoss& loss = *report.add_rungs();
    loss.set_rung(rung);
    loss.set_step(step);
    loss.set_loss(loss_of(report.id().job_id(), rung));
  }
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
  request.set_folder(absl::StrCat("/jobs/", trainer.report.id().job_id(), "/checkpoints/step-", step));
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
  // A probe sees what no job could run with, and says which jobs would still fail; seldom, so that others find out
  // first.
  request.mutable_probe()->set_number(static_cast<uint64_t>(1 + now_ms_ / 5'000));
  if (now_ms_ < machine.broken_until_ms && machine.fault == v1::PLACE_FAULT_CERTAIN)
    request.mutable_probe()->set_fault("broken");
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
    at(between(1, 400), [this, answer, life = life_] { as(life, answer); });
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
      place_faults_.erase({assignment.id().epoch(), assignment.rank()});
      if (now_ms_ < machine.broken_until_ms) {
        end_trainer(trainer, v1::Finished::FAILED, 0, false);
        trainer.report.mutable_finished()->set_place_fault(machine.fault);
        place_faults_[{assignment.id().epoch(), assignment.rank()}] = machine.fault;
      }
      trainer.steps = 10 + assignment.job().training().steps();
      trainer.rungs.assign(assignment.job().sweep().rungs().begin(), assignment.job().sweep().rungs().end());
      promises_.require(assignment.has_job(), "a rank that is not held comes with its job");
      promises_.require(with_folder_.contains(assignment.id().epoch()), "no rank begins without its job's folder");
      promises_.require(!refused_starts_.contains(assignment.id().epoch()), "what could not start runs nowhere");
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
  const auto fault = place_faults_.find({released.id().epoch(), released.rank()});
  const bool outside = fault != place_faults_.end() && fault->second == v1::PLACE_FAULT_OUTSIDE;
  const bool place = fault != place_faults_.end() && !outside;
  const bool reported = released.exit().kind() != v1::RankExit::WORKER_LOST &&
                        released.exit().kind() != v1::RankExit::FORGOTTEN &&
                        released.exit().kind() != v1::RankExit::LET_GO;
  if (reported) {
    promises_.require(place == (released.exit().kind() == v1::RankExit::PLACE_FAILED),
                      "what a place lacks is not the job's failure");
    promises_.require(outside == (released.exit().kind() == v1::RankExit::OUTSIDE_FAILED),
                      "what does not answer is not the job's failure");
  }
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

}  // namespace galleon::server

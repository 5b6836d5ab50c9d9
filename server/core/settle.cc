// Ends: of a rank, of the attempt when all its ranks have ended, and what becomes of the job then.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

using Kind = v1::RankExit;

v1::AttemptId id_of(const v1::JobState& job, const v1::AttemptState& attempt) {
  v1::AttemptId id;
  id.set_job_id(job.record().job_id());
  id.set_attempt(attempt.attempt().number());
  id.set_epoch(attempt.attempt().epoch());
  return id;
}

std::string rank_text(const v1::AttemptState& attempt, int rank) {
  const v1::RankState& state = attempt.ranks(rank);
  return absl::StrCat("rank ", rank, " on ", state.worker_id(), ": ", state.exit().message());
}

// The ends that are nobody's fault: success, and what an order to stop or a closed attempt brings about.
bool harmless(const v1::AttemptState& attempt, const v1::RankExit& exit) {
  const bool ordered = attempt.closed() || attempt.has_stop();
  switch (exit.kind()) {
    case Kind::SUCCEEDED:
      return true;
    case Kind::STOPPED:
    case Kind::LET_GO:
    case Kind::ENDED_BY_DAEMON:
      return ordered;
    default:
      return false;
  }
}

// How much an end explains of an attempt's: an outside cause makes the other ranks fail at their collectives, so it
// comes before failures that the trainers report; a failure that would happen again comes before everything.
int weight(const v1::AttemptState& attempt, const v1::RankExit& exit) {
  if (exit.kind() == Kind::FAILED) return exit.permanent() ? 6 : 3;
  if (exit.kind() == Kind::SIGNALLED || exit.kind() == Kind::DEVICE_FAILED || exit.kind() == Kind::PLACE_FAILED)
    return 5;
  if (exit.kind() == Kind::WORKER_LOST || exit.kind() == Kind::FORGOTTEN) return 4;
  if (exit.kind() == Kind::OUTSIDE_FAILED) return 2;  // what it misses may be a rank that says more
  if (exit.kind() == Kind::SUCCEEDED) return 0;
  return harmless(attempt, exit) ? 0 : 1;
}

// The job ends with it, whatever its attempt did.
bool ends_job(v1::StopOrder::Cause cause) {
  return cause == v1::StopOrder::CANCEL || cause == v1::StopOrder::HALVED;
}

bool hands_back(v1::StopOrder::Cause cause) {
  return cause == v1::StopOrder::LEAVING || cause == v1::StopOrder::PREEMPTED || cause == v1::StopOrder::DRAINED ||
         cause == v1::StopOrder::REQUEUED || cause == v1::StopOrder::HELD || cause == v1::StopOrder::YIELDED ||
         cause == v1::StopOrder::QUOTA;
}

const char* reason_word(const v1::AttemptState& attempt, const v1::RankExit& exit) {
  switch (exit.kind()) {
    case Kind::SIGNALLED:
      return exit.out_of_memory() ? "out_of_memory" : "signal";
    case Kind::DEVICE_FAILED:
      return "device_failed";
    case Kind::PLACE_FAILED:
      return "place";
    case Kind::OUTSIDE_FAILED:
      return "outside";
    case Kind::WORKER_LOST:
      return "worker_lost";
    case Kind::FORGOTTEN:
      return "forgotten";
    default:
      return attempt.attempt().last_step() == 0 ? "not_started" : "stopped";
  }
}

}  // namespace

void Scheduler::release_rank(Now now, const v1::JobState& job, uint32_t rank, v1::RankExit exit) {
  const v1::AttemptState& attempt = *live_attempt(job);
  AttemptLive& known = live(now, job, attempt);
  const v1::RankReport& report = known.ranks[rank].report;
  v1::JournalEvent event;
  v1::RankReleased& released = *event.mutable_rank_released();
  *released.mutable_id() = id_of(job, attempt);
  released.set_rank(rank);
  released.set_last_step(std::max(report.progress().step(), report.finished().step()));
  if (rank == 0) {
    if (report.has_stage()) *released.mutable_stage() = report.stage();
    if (report.has_progress()) *released.mutable_progress() = report.progress();
    if (report.has_evaluation()) *released.mutable_evaluation() = report.evaluation();
    if (report.finished().has_evaluation()) *released.mutable_evaluation() = report.finished().evaluation();
    if (report.has_ledger()) *released.mutable_ledger() = report.ledger();
    released.set_train_loss(report.finished().train_loss());
  }
  if (exit.kind() == Kind::SUCCEEDED && known.success_ms < 0) known.success_ms = now.mono_ms;
  *released.mutable_exit() = std::move(exit);
  touch(attempt);
  emit(now, std::move(event));
}

void Scheduler::lose_worker(Now now, const std::string& worker_id, const std::string& reason) {
  const std::map<uint32_t, SlotUse> leased = state_.leased_slots(worker_id);
  for (const auto& [slot, use] : leased) {
    v1::RankExit exit;
    exit.set_kind(Kind::WORKER_LOST);
    exit.set_message(reason);
    release_rank(now, *state_.job(use.job_id), use.rank, exit);
  }
  v1::JournalEvent event;
  event.mutable_worker_gone()->set_worker_id(worker_id);
  event.mutable_worker_gone()->set_reason(reason);
  event.mutable_worker_gone()->set_last_seen_time_ms(fleet_.workers[worker_id].last_seen_wall_ms);
  emit(now, std::move(event));
  fleet_.workers.erase(worker_id);
  for (const auto& [slot, use] : leased) settle(now, *state_.job(use.job_id));
}

void Scheduler::close_attempt(Now now, const v1::JobState& job, const std::string& reason) {
  const v1::AttemptState& attempt = *live_attempt(job);
  v1::JournalEvent event;
  *event.mutable_attempt_closed()->mutable_id() = id_of(job, attempt);
  event.mutable_attempt_closed()->set_reason(reason);
  emit(now, std::move(event));
  touch(attempt);
}

void Scheduler::settle(Now now, const v1::JobState& job) {
  const v1::AttemptState* attempt = live_attempt(job);
  if (attempt == nullptr) return;
  bool all_released = true;
  for (int rank = 0; rank < attempt->ranks_size(); ++rank) {
    const v1::RankState& state = attempt->ranks(rank);
    all_released &= state.released();
    if (state.released() && !attempt->closed() && !harmless(*attempt, state.exit())) {
      close_attempt(now, job, rank_text(*attempt, rank));
    }
  }
  if (all_released) end_attempt(now, job);
}

// The rank whose end explains the attempt's best.
int Scheduler::cause_of(const v1::AttemptState& attempt) {
  int cause = 0;
  for (int rank = 1; rank < attempt.ranks_size(); ++rank) {
    if (weight(attempt, attempt.ranks(rank).exit()) > weight(attempt, attempt.ranks(cause).exit())) cause = rank;
  }
  return cause;
}

// How the attempt has ended, all of whose ranks have.
v1::AttemptEnded Scheduler::verdict(Now now, const v1::JobState& job) {
  const v1::AttemptState& attempt = *live_attempt(job);
  const int cause = cause_of(attempt);
  const v1::RankExit& exit = attempt.ranks(cause).exit();
  const bool nobodys_fault = weight(attempt, exit) == 0;
  const bool all_succeeded = std::all_of(attempt.ranks().begin(), attempt.ranks().end(), [](const v1::RankState& rank) {
    return rank.exit().kind() == Kind::SUCCEEDED;
  });
  const v1::StopOrder& stop = attempt.stop();
  v1::AttemptEnded ended;
  *ended.mutable_id() = id_of(job, attempt);
  ended.set_failed_rank(static_cast<uint32_t>(cause));
  ended.set_ran_ms(live(now, job, attempt).ran_ms(now.mono_ms));
  ended.set_exit_code(exit.exit_code());
  ended.set_exit_signal(exit.exit_signal());
  ended.set_message(rank_text(attempt, cause));
  if (all_succeeded) {
    ended.set_outcome(v1::Attempt::SUCCEEDED);
    ended.clear_failed_rank();
    ended.set_message(attempt.ranks(0).exit().message());
  } else if (ends_job(stop.cause()) || stop.cause() == v1::StopOrder::TIME_LIMIT ||
             (exit.kind() != Kind::FAILED && hands_back(stop.cause()) && nobodys_fault)) {
    ended.set_outcome(v1::Attempt::STOPPED);
    ended.set_message(stop.reason());
  } else if (exit.kind() == Kind::FAILED) {
    ended.set_outcome(v1::Attempt::FAILED);
  } else {
    ended.set_outcome(v1::Attempt::LOST);
    ended.set_reason(reason_word(attempt, exit));
    if (nobodys_fault) ended.set_message(attempt.close_reason());
  }
  return ended;
}

void Scheduler::end_attempt(Now now, const v1::JobState& job) {
  const v1::AttemptState& attempt = *live_attempt(job);
  const v1::AttemptEnded ended = verdict(now, job);
  const v1::StopOrder stop = attempt.stop();
  const v1::RankExit exit = attempt.ranks(cause_of(attempt)).exit();
  const bool certainly_place = exit.kind() == Kind::PLACE_FAILED && !exit.doubtful();
  for (const v1::RankState& rank : attempt.ranks()) {
    if (rank.exit().kind() == Kind::PLACE_FAILED && !rank.exit().doubtful())
      blame(now, rank.worker_id(), job.record().job_id(), rank.exit());
  }
  if (ended.outcome() == v1::Attempt::SUCCEEDED && !ends_job(stop.cause())) {
    // A run so short that nobody saw it begin still takes every step of the table.
    if (job.record().state() == v1::JobRecord::RESERVED) move(now, job, v1::JobRecord::STARTING);
    if (job.record().state() == v1::JobRecord::STARTING) move(now, job, v1::JobRecord::RUNNING);
  }
  v1::JournalEvent event;
  *event.mutable_attempt_ended() = ended;
  emit(now, std::move(event));
  fleet_.attempts.erase(job.record().job_id());
  follow(now, job, ended, stop, {exit.permanent(), certainly_place, exit.kind() == Kind::OUTSIDE_FAILED});
}

// What becomes of the job.
void Scheduler::follow(Now now, const v1::JobState& job, const v1::AttemptEnded& ended, const v1::StopOrder& stop,
                       Cause cause) {
  if (ends_job(stop.cause())) return end_job(now, job, v1::JobRecord::CANCELLED, stop.reason());
  const uint32_t allowed =
      job.record().job().scheduling().has_max_retries() ? job.record().job().scheduling().max_retries() : 3;
  const uint32_t failures = job.record().failures() - job.failures_before();
  switch (ended.outcome()) {
    case v1::Attempt::SUCCEEDED:
      return end_job(now, job, v1::JobRecord::SUCCEEDED,
                     ended.message().empty() ? "all steps are done" : ended.message());
    case v1::Attempt::FAILED:
      if (cause.permanent) return end_job(now, job, v1::JobRecord::FAILED, ended.message());
      if (failures > allowed) {
        return end_job(now, job, v1::JobRecord::FAILED,
                       absl::StrCat("failed ", failures, " times, max_retries is ", allowed, "; the last time, ",
                                    ended.message()));
      }
      return requeue(now, job, absl::StrCat("attempt ", ended.id().attempt(), " failed: ", ended.message()), true);
    case v1::Attempt::LOST:
      // No job ends for what no job could run with; the pauses grow, and the worker is cordoned.
      if (job.lost_in_a_row() >= options_.lost_in_a_row && !cause.certainly_place && !cause.outside) {
        return end_job(now, job, v1::JobRecord::FAILED,
                       absl::StrCat(job.lost_in_a_row(),
                                    " attempts in a row were lost without a new checkpoint or step; the last time, ",
                                    ended.message()));
      }
      if (job.outside_in_a_row() >= options_.outside_in_a_row && cause.outside) {
        return end_job(now, job, v1::JobRecord::FAILED,
                       absl::StrCat("what it needs from outside did not answer in ", job.outside_in_a_row(),
                                    " attempts; the last time, ", ended.message()));
      }
      return requeue(now, job, absl::StrCat("attempt ", ended.id().attempt(), " was lost: ", ended.message()), true);
    default:
      if (stop.cause() == v1::StopOrder::TIME_LIMIT) return end_job(now, job, v1::JobRecord::FAILED, stop.reason());
      return requeue(now, job, absl::StrCat("attempt ", ended.id().attempt(), " was handed back: ", ended.message()),
                     false);
  }
}

void Scheduler::requeue(Now now, const v1::JobState& job, const std::string& message, bool with_backoff) {
  v1::JournalEvent event;
  v1::JobRequeued& requeued = *event.mutable_job_requeued();
  requeued.set_job_id(job.record().job_id());
  requeued.set_message(message);
  if (with_backoff) {
    const uint32_t times = std::max<uint32_t>(
        1, job.record().failures() - job.failures_before() + job.lost_in_a_row() + job.outside_in_a_row());
    const int64_t backoff = options_.first_backoff_ms << std::min<uint32_t>(times - 1, 16);
    const int64_t longest =
        job.outside_in_a_row() > 0 ? options_.longest_outside_backoff_ms : options_.longest_backoff_ms;
    requeued.set_not_before_ms(now.wall_ms + std::min(backoff, longest));
  }
  emit(now, std::move(event));
}

}  // namespace galleon::server

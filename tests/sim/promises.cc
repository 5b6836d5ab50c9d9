#include "absl/strings/str_cat.h"
#include "server/core/transitions.h"
#include "tests/sim/cluster.h"

namespace galleon::server {

void Promises::require(bool holds, const std::string& promise) {
  if (!holds && broken_.empty()) broken_ = promise;
}

void Promises::check(const v1::JournalEvent& event, const State& state) {
  std::string id;
  if (event.has_job_created()) id = event.job_created().job_id();
  if (event.has_job_moved()) id = event.job_moved().job_id();
  if (event.has_job_requeued()) id = event.job_requeued().job_id();
  if (event.has_job_ended()) id = event.job_ended().job_id();
  if (event.has_attempt_reserved()) {
    const v1::AttemptReserved& reserved = event.attempt_reserved();
    id = reserved.id().job_id();
    require(reserved.id().epoch() == last_epoch_ + 1, "epochs grow by one");
    last_epoch_ = reserved.id().epoch();
    require(live_epoch_.emplace(id, last_epoch_).second, "a job has one live epoch");
    for (const v1::RankState& rank : reserved.ranks()) {
      require(leases_.emplace(std::make_pair(rank.worker_id(), rank.slot()), id).second, "no slot is leased twice");
    }
    const auto newest = checkpoint_.find(id);
    const uint64_t resume = newest == checkpoint_.end() ? 0 : newest->second.second;
    require(reserved.resume_step() == resume, "an attempt resumes from the newest recorded checkpoint");
  }
  if (event.has_rank_released()) {
    id = event.rank_released().id().job_id();
    const v1::AttemptState& attempt = *current_attempt(*state.job(id));
    const v1::RankState& rank = attempt.ranks(static_cast<int>(event.rank_released().rank()));
    const auto lease = leases_.find({rank.worker_id(), rank.slot()});
    require(lease != leases_.end() && lease->second == id, "only who holds a slot releases it");
    if (lease != leases_.end()) leases_.erase(lease);
  }
  if (event.has_attempt_ended()) {
    id = event.attempt_ended().id().job_id();
    require(live_epoch_.count(id) == 1 && live_epoch_[id] == event.attempt_ended().id().epoch(),
            "only a live epoch ends");
    live_epoch_.erase(id);
    for (const auto& [slot, holder] : leases_) require(holder != id, "an ended attempt holds no slot");
  }
  if (event.has_checkpoint_recorded()) {
    const v1::CheckpointRecorded& recorded = event.checkpoint_recorded();
    id = recorded.id().job_id();
    require(live_epoch_.count(id) == 1 && live_epoch_[id] == recorded.id().epoch(),
            "checkpoints come from the live epoch");
    const std::pair<uint64_t, uint64_t> point(recorded.id().epoch(), recorded.step());
    require(point > checkpoint_[id], "recorded checkpoints go forward");
    checkpoint_[id] = point;
  }
  if (id.empty()) return;
  const v1::JobRecord& record = state.job(id)->record();
  if (const auto ended = terminal_.find(id); ended != terminal_.end()) {
    require(record.state() == ended->second, absl::StrCat("a terminal state never changes: ", id));
  } else if (is_terminal(record.state())) {
    terminal_[id] = record.state();
    require(live_epoch_.count(id) == 0, "an ended job has no live epoch");
  }
  auto& [attempts, failures] = counts_[id];
  require(record.attempts() >= attempts && record.failures() >= failures, "counts are never reset");
  require(record.failures() <= record.job().scheduling().max_retries() + 1, "retries have a limit");
  attempts = record.attempts();
  failures = record.failures();
}

}  // namespace galleon::server

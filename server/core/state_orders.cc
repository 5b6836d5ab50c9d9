// What people's orders for a job do to the state: held, released, resumed, deleted.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "server/core/state.h"
#include "server/core/transitions.h"

namespace galleon::server {

void State::on(const v1::JobHeld& event, int64_t time_ms) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(!is_terminal(job.record().state())) << event.job_id() << " has ended";
  unindex(job);
  job.mutable_record()->set_held(true);
  job.mutable_record()->set_hold_reason(event.reason());
  job.mutable_record()->set_held_time_ms(time_ms);
  // Slots that others make free for it are theirs again.
  job.clear_held();
  index(job);
  note(job, "held", event.reason());
}

void State::on(const v1::JobReleased& event, int64_t time_ms) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(job.record().held()) << event.job_id() << " is not held";
  unindex(job);
  job.mutable_record()->clear_held();
  job.mutable_record()->clear_hold_reason();
  job.mutable_record()->clear_held_time_ms();
  index(job);
  job.set_waits_from_ms(time_ms);
  note(job, "hold_released", "");
}

void State::on(const v1::JobResumed& event, int64_t time_ms) {
  v1::JobState& job = mutable_job(event.job_id());
  const v1::JobRecord::State state = job.record().state();
  GALLEON_CHECK(state == v1::JobRecord::FAILED || state == v1::JobRecord::CANCELLED)
      << event.job_id() << " is resumed from " << v1::JobRecord::State_Name(state);
  v1::JobRecord& record = *job.mutable_record();
  record.clear_message();
  record.clear_end_time_ms();
  record.set_resumptions(record.resumptions() + 1);
  job.set_failures_before(record.failures());
  job.set_attempts_before(record.attempts());
  job.set_lost_in_a_row(0);
  job.set_outside_in_a_row(0);
  job.set_ran_ms(0);
  job.set_not_before_ms(0);
  job.set_waits_long(false);
  job.set_queued_time_ms(time_ms);
  job.set_waits_from_ms(time_ms);
  record.clear_stopped_at_rung();
  // The one way back from an end, and only by somebody's order.
  unindex(job);
  record.set_state(v1::JobRecord::QUEUED);
  index(job);
  note(job, "resumed", record.has_checkpoint() ? absl::StrCat("from step ", record.checkpoint().step()) : "");
}

void State::on(const v1::JobDeleted& event, int64_t) {
  v1::JobState& job = mutable_job(event.job_id());
  GALLEON_CHECK(is_terminal(job.record().state())) << event.job_id() << " has not ended";
  const std::string name = job.record().name();
  drop(job);
  removals_[event.job_id()] = event.removal();
  note_gone(name, "deleted");
}

void State::on(const v1::FolderRemoved& event, int64_t) {
  removals_.erase(event.job_id());
}

void State::drop(v1::JobState& job) {
  forgotten_ = std::max(forgotten_, job.events().empty() ? job.dropped() : job.events().rbegin()->revision());
  unindex(job);
  by_id_.erase(job.record().job_id());
  if (!job.record().request_id().empty()) by_request_.erase(job.record().request_id());
  const uint64_t number = job.number();
  const std::string group_id = job.record().group();
  changed_.erase(number);
  removed_.insert(number);
  jobs_.erase(number);
  if (!group_id.empty()) leave_group(group_id, number);
}

}  // namespace galleon::server

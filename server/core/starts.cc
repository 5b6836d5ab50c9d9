// What a pass decided, as events: attempts that begin, and those who make room for others.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/core/scheduler.h"

namespace galleon::server {

void Scheduler::reserve(Now now, const v1::JobState& job, const std::vector<Place>& places) {
  v1::JournalEvent event;
  v1::AttemptReserved& reserved = *event.mutable_attempt_reserved();
  reserved.mutable_id()->set_job_id(job.record().job_id());
  reserved.mutable_id()->set_attempt(static_cast<uint32_t>(job.attempts_size()) + 1);
  reserved.mutable_id()->set_epoch(state_.last_epoch() + 1);
  reserved.set_resume_step(job.record().checkpoint().step());
  reserved.set_resume_epoch(job.record().checkpoint().epoch());
  for (const Place& place : places) {
    v1::RankState& rank = *reserved.add_ranks();
    rank.set_worker_id(place.worker_id);
    rank.set_slot(place.slot);
  }
  waiting_.erase(job.number());
  emit(now, std::move(event));
  const v1::AttemptState& attempt = *live_attempt(job);
  live(now, job, attempt);
  touch(attempt);
}

void Scheduler::preempt(Now now, const v1::JobState& job, const PassResult::Preemption& preemption,
                        const std::vector<std::string>& victims) {
  v1::JournalEvent event;
  v1::SlotsHeld& held = *event.mutable_slots_held();
  held.set_job_id(job.record().job_id());
  for (const Place& place : preemption.places) {
    v1::HeldSlot& slot = *held.add_slots();
    slot.set_worker_id(place.worker_id);
    slot.set_slot(place.slot);
  }
  std::vector<std::string> named;
  for (const std::string& id : victims) {
    const v1::JobRecord& victim = state_.job(id)->record();
    named.push_back(victim.project() == job.record().project() ? id : absl::StrCat("a job of queue ", victim.queue()));
  }
  held.set_reason(absl::StrCat(absl::StrJoin(named, ", "), victims.size() == 1 ? " makes room" : " make room"));
  emit(now, std::move(event));
  fleet_.holds[job.number()] = now.mono_ms;
  for (const std::string& id : victims) {
    const v1::JobState& victim = *state_.job(id);
    // The jobs of another project are nobody's business there.
    const std::string who = victim.record().project() == job.record().project() ? job.record().name() : "a job";
    const std::string whom =
        victim.record().queue() == job.record().queue()
            ? absl::StrCat(who, " of priority ", job.record().priority())
            : absl::StrCat(who, " of queue ", job.record().queue(), ", which takes back what it is guaranteed");
    hand_back(now, victim, v1::StopOrder::PREEMPTED, absl::StrCat("makes room for ", whom), job.record().job_id());
  }
}

}  // namespace galleon::server

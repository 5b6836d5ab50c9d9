// Successive halving: members of a group report their losses at its rungs; when each has reached a rung, or cannot any
// more, the worse half ends. Where members wait for slots, those that have reached the rung hand theirs over.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/group_standing.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

bool may_be_preempted(const v1::Job& job) {
  return !job.scheduling().has_preemptible() || job.scheduling().preemptible();
}

}  // namespace

void Scheduler::take_rungs(Now now, const v1::JobState& job, const v1::RankReport& report) {
  const v1::GroupState* group = state_.group(job.record().group());
  if (group == nullptr) return;
  for (const v1::GroupRung& rung : group->group().rungs()) {
    if (loss_at(job.record(), rung.step()) != nullptr) continue;
    for (const v1::RungLoss& loss : report.rungs()) {
      if (loss.rung() != rung.step() || loss.step() < rung.step()) continue;
      v1::JournalEvent event;
      event.mutable_rung_reached()->set_job_id(job.record().job_id());
      *event.mutable_rung_reached()->mutable_loss() = loss;
      emit(now, std::move(event));
      break;
    }
  }
}

void Scheduler::check_rungs(Now now) {
  std::vector<std::pair<std::string, uint64_t>> due;
  for (const uint64_t number : state_.halving()) {
    const v1::Group& group = state_.groups().at(number).group();
    const uint64_t rung = next_rung(group);
    const Standing standing = standing_at(state_, group, rung);
    if (standing.complete && standing.alive) due.emplace_back(group.group_id(), rung);
  }
  for (const auto& [id, rung] : due) decide_rung(now, *state_.group(id), rung);
  // They may have reached the next one too.
  if (!due.empty()) check_rungs(now);
}

void Scheduler::decide_rung(Now now, const v1::GroupState& group, uint64_t step) {
  const Standing standing = standing_at(state_, group.group(), step);
  const std::string name = group.group().name();
  v1::JournalEvent event;
  v1::RungDecided& decided = *event.mutable_rung_decided();
  decided.set_group_id(group.group().group_id());
  decided.set_step(step);
  for (const Standing::Place& place : standing.places) decided.add_ranking(place.job->record().job_id());
  const uint32_t kept = kept_of(standing.places.size());
  decided.set_kept(kept);
  emit(now, std::move(event));
  for (size_t i = 0; i < standing.places.size(); ++i) {
    const v1::JobState& job = *standing.places[i].job;
    const v1::JobRecord::State state = job.record().state();
    if (i < kept) {
      if (state == v1::JobRecord::QUEUED) forget_waiting(job.record().job_id());
      continue;
    }
    if (is_terminal(state) || state == v1::JobRecord::CANCELLING) continue;
    const std::string why =
        absl::StrCat("ends with the worse half of ", name, ": is ", i + 1, " of ", standing.places.size(), " at step ",
                     step, standing.places[i].worst ? "" : absl::StrCat(", loss ", standing.places[i].loss));
    if (state == v1::JobRecord::QUEUED) {
      end_job(now, job, v1::JobRecord::CANCELLED, why);
      continue;
    }
    move(now, job, v1::JobRecord::CANCELLING);
    order_stop(now, job, v1::StopOrder::HALVED, why, options_.stop_grace_ms);
  }
}

bool Scheduler::wants_slots(const v1::JobState& job) const {
  if (job.record().state() != v1::JobRecord::QUEUED || job.record().held()) return false;
  const auto it = waiting_.find(job.number());
  if (it == waiting_.end() || !it->second.decided || !it->second.known) return true;
  switch (it->second.wait.kind) {
    case Wait::Kind::kSlots:
    case Wait::Kind::kAhead:
    case Wait::Kind::kFixed:
    case Wait::Kind::kGroup:
    case Wait::Kind::kMakingRoom:
    case Wait::Kind::kPassFull:
      return true;
    // What is larger than a limit waits for another limit.
    case Wait::Kind::kLimit:
    case Wait::Kind::kUserLimit:
      return it->second.demand.ranks() <= it->second.wait.limit;
    default:
      return false;
  }
}

uint64_t Scheduler::awaited_rung(const v1::JobState& job) const {
  if (job.record().rungs().empty()) return 0;
  const v1::GroupState* group = state_.group(job.record().group());
  const uint64_t rung = group == nullptr ? 0 : next_rung(group->group());
  if (rung == 0 || loss_at(job.record(), rung) == nullptr) return 0;
  return is_out(group->group(), job.record().job_id()) ? 0 : rung;
}

bool Scheduler::lets_others_reach(const v1::JobState& job, Wait& wait) const {
  const uint64_t rung = awaited_rung(job);
  if (rung == 0) return false;
  const v1::Group& group = state_.group(job.record().group())->group();
  for (const uint64_t number : state_.members(group.group_id())) {
    const v1::JobState& other = *state_.job_by_number(number);
    if (loss_at(other.record(), rung) != nullptr || is_out(group, other.record().job_id()) || !wants_slots(other))
      continue;
    wait.kind = Wait::Kind::kRung;
    wait.name = group.name();
    wait.step = rung;
    return true;
  }
  return false;
}

void Scheduler::yield_slots(Now now) {
  const std::set<uint64_t> halving = state_.halving();
  for (const uint64_t group_number : halving) {
    const v1::Group& group = state_.groups().at(group_number).group();
    const uint64_t rung = next_rung(group);
    int64_t wanted = 0;
    bool others_want = false;
    bool one_waits = false;
    std::vector<std::string> reached;
    for (const uint64_t number : state_.members(group.group_id())) {
      const v1::JobState& job = *state_.job_by_number(number);
      if (is_out(group, job.record().job_id())) continue;
      const bool there = loss_at(job.record(), rung) != nullptr;
      const v1::AttemptState* attempt = live_attempt(job);
      if (attempt == nullptr) {
        const auto it = waiting_.find(number);
        const bool decided = it != waiting_.end() && it->second.decided;
        const bool wants = !there && wants_slots(job);
        others_want |= wants;
        // For whom others make room already needs no more.
        wanted += wants && decided && it->second.wait.kind != Wait::Kind::kMakingRoom;
        one_waits |= there && decided && it->second.wait.kind == Wait::Kind::kRung;
      }
      if (!there || attempt == nullptr) continue;
      // Slots that are handed back already are somebody's soon.
      if (attempt->closed() || attempt->has_stop()) {
        --wanted;
      } else if (may_be_preempted(job.record().job())) {
        reached.push_back(job.record().job_id());
      }
    }
    // This pass has found that nobody can use the slots that they leave: the next one lets them go on.
    if (one_waits && !others_want) dirty_ = true;
    for (const std::string& id : reached) {
      if (wanted-- <= 0) break;
      hand_back(now, *state_.job(id), v1::StopOrder::YIELDED,
                absl::StrCat("has reached step ", rung, " of ", group.name(), ", and lets others reach it"));
    }
  }
}

}  // namespace galleon::server

// Groups of jobs: their members, and what is decided of them.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "server/core/state.h"
#include "server/core/transitions.h"

namespace galleon::server {

const v1::GroupState* State::group(absl::string_view group_id) const {
  const auto it = group_numbers_.find(group_id);
  return it == group_numbers_.end() ? nullptr : &groups_.at(it->second);
}

const v1::GroupState* State::group_by_request(absl::string_view request_id) const {
  const auto it = group_requests_.find(request_id);
  return it == group_requests_.end() ? nullptr : &groups_.at(it->second);
}

const std::set<uint64_t>& State::members(absl::string_view group_id) const {
  static const std::set<uint64_t> kNone;
  const auto it = members_.find(group_id);
  return it == members_.end() ? kNone : it->second;
}

void State::index_group(const v1::GroupState& group) {
  group_numbers_[group.group().group_id()] = group.number();
  if (!group.group().request_id().empty()) group_requests_[group.group().request_id()] = group.number();
  const bool undecided = std::any_of(group.group().rungs().begin(), group.group().rungs().end(),
                                     [](const v1::GroupRung& rung) { return !rung.decided(); });
  if (undecided) {
    halving_.insert(group.number());
  } else {
    halving_.erase(group.number());
  }
}

void State::leave_group(const std::string& group_id, uint64_t number) {
  const auto members = members_.find(group_id);
  members->second.erase(number);
  if (!members->second.empty()) return;
  members_.erase(members);
  const v1::GroupState& gone = *group(group_id);
  group_requests_.erase(gone.group().request_id());
  const uint64_t group_number = gone.number();
  group_numbers_.erase(group_id);
  halving_.erase(group_number);
  groups_.erase(group_number);
}

void State::on(const v1::GroupCreated& event, int64_t time_ms) {
  const v1::Group& made = event.group().group();
  GALLEON_CHECK(group(made.group_id()) == nullptr) << made.group_id() << " exists";
  GALLEON_CHECK(made.request_id().empty() || group_by_request(made.request_id()) == nullptr)
      << made.group_id() << " is made again";
  GALLEON_CHECK(event.group().number() > last_job_number_) << "a group comes before its jobs";
  v1::GroupState& stored = groups_[event.group().number()] = event.group();
  stored.mutable_group()->set_create_time_ms(time_ms);
  index_group(stored);
}

void State::on(const v1::RungReached& event, int64_t) {
  v1::JobState& job = mutable_job(event.job_id());
  for (const v1::RungLoss& known : job.record().rungs())
    GALLEON_CHECK(known.rung() != event.loss().rung()) << event.job_id() << " reaches a rung twice";
  *job.mutable_record()->add_rungs() = event.loss();
  note(job, "rung_reached", absl::StrCat("loss ", event.loss().loss(), " at step ", event.loss().step()));
}

void State::on(const v1::RungDecided& event, int64_t time_ms) {
  const auto number = group_numbers_.find(event.group_id());
  GALLEON_CHECK(number != group_numbers_.end()) << "unknown group " << event.group_id();
  v1::GroupState& stored = groups_.at(number->second);
  v1::Group& group = *stored.mutable_group();
  const auto rung = std::find_if(group.mutable_rungs()->begin(), group.mutable_rungs()->end(),
                                 [&event](const v1::GroupRung& one) { return one.step() == event.step(); });
  GALLEON_CHECK(rung != group.mutable_rungs()->end() && !rung->decided())
      << event.group_id() << " decides no such rung " << event.step();
  rung->set_decided(true);
  rung->set_time_ms(time_ms);
  *rung->mutable_ranking() = event.ranking();
  rung->set_kept(event.kept());
  index_group(stored);
  for (int place = 0; place < event.ranking_size(); ++place) {
    v1::JobState& job = mutable_job(event.ranking(place));
    const bool goes_on = place < static_cast<int>(event.kept());
    const bool ended = is_terminal(job.record().state());
    if (!goes_on && !ended) job.mutable_record()->set_stopped_at_rung(event.step());
    note(job, "rung_decided",
         absl::StrCat("is ", place + 1, " of ", event.ranking_size(), " at step ", event.step(),
                      ended     ? ", and has ended"
                      : goes_on ? ", and goes on"
                                : ", and ends"));
  }
}

}  // namespace galleon::server

// Jobs that are submitted together, and what they are together.
#include <cmath>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/core/group_standing.h"
#include "server/core/refusal.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

using google::protobuf::util::MessageDifferencer;

std::string settings_text(const std::vector<v1::SweepSetting>& settings) {
  return absl::StrJoin(settings, ", ", [](std::string* out, const v1::SweepSetting& setting) {
    absl::StrAppend(out, setting.key(), "=", setting.value());
  });
}

// The same refusal, of that member of a request.
absl::Status of_member(const Scheduler::GroupSubmission& submission, size_t index, const absl::Status& status) {
  const bool field = absl::IsInvalidArgument(status);
  const absl::Status named(
      status.code(), absl::StrCat("members[", index, "]", field ? ".job." : ": ", status.message(), " (the job with ",
                                  settings_text(submission.members[index].settings), ")"));
  return reason_of(status) == v1::ErrorInfo::REASON_UNSPECIFIED ? named : with_reason(named, reason_of(status));
}

bool same_settings(const std::vector<v1::SweepSetting>& a, const v1::JobRecord& b) {
  return a.size() == static_cast<size_t>(b.settings_size()) &&
         std::equal(a.begin(), a.end(), b.settings().begin(), [](const auto& one, const auto& other) {
           return one.key() == other.key() && one.value() == other.value();
         });
}

}  // namespace

// A job's id ends with a number, so that no job is ever called so.
std::string Scheduler::group_id(absl::string_view name, uint64_t number) {
  return absl::StrCat(name, "-g", number);
}

absl::StatusOr<const v1::GroupState*> Scheduler::find_group_request(const GroupSubmission& submission) const {
  if (submission.request_id.empty()) return nullptr;
  const auto reused = [&submission](const std::string& by) {
    return refusal(v1::ErrorInfo::REQUEST_ID_REUSED,
                   absl::StrCat("request_id \"", submission.request_id, "\" was used for ", by,
                                ", which differs from this group; use a new request_id"));
  };
  if (const v1::JobState* job = state_.job_by_request(submission.request_id); job != nullptr)
    return reused(job->record().name());
  const v1::GroupState* known = state_.group_by_request(submission.request_id);
  if (known == nullptr) return nullptr;
  const v1::Group& group = known->group();
  bool same = group.group_id() == group_id(submission.name, known->number()) &&
              group.size() == submission.members.size() && group.max_running() == submission.max_running &&
              std::equal(group.rungs().begin(), group.rungs().end(), submission.rungs.begin(), submission.rungs.end(),
                         [](const v1::GroupRung& rung, uint64_t step) { return rung.step() == step; });
  // Of those that are still there: each is one of the request, and none of them twice.
  size_t next = 0;
  for (const uint64_t number : state_.members(group.group_id())) {
    const v1::JobRecord& record = state_.job_by_number(number)->record();
    while (same && next < submission.members.size() && !same_settings(submission.members[next].settings, record))
      ++next;
    same = same && next < submission.members.size() &&
           MessageDifferencer::Equals(record.job(), submission.members[next].job);
    ++next;
  }
  if (!same) return reused(group.name());
  return known;
}

absl::Status Scheduler::check_group(const GroupSubmission& submission) const {
  const std::string* project = nullptr;
  for (size_t i = 0; i < submission.members.size(); ++i) {
    const v1::Job& job = submission.members[i].job;
    if (const absl::Status refused = check_scheduling(job); !refused.ok()) return of_member(submission, i, refused);
    const std::string& other = queue_config(queue_of(job))->project;
    if (project != nullptr && *project != other) {
      return of_member(submission, i,
                       absl::InvalidArgumentError(absl::StrCat("scheduling.queue: ", queue_of(job), " is of project ",
                                                               other, ", and other jobs of the group are of ", *project,
                                                               "; a group has one project")));
    }
    project = &other;
  }
  std::map<std::string, uint64_t> by_queue;
  for (const Submission& member : submission.members) ++by_queue[queue_of(member.job)];
  return check_quota(by_queue, submission.owner);
}

absl::Status Scheduler::check_group_fits(const GroupSubmission& submission) const {
  for (size_t i = 0; i < submission.members.size(); ++i) {
    const Submission& member = submission.members[i];
    if (const absl::Status refused = check_fits(member.job, member.plan, member.allow_pending); !refused.ok())
      return of_member(submission, i, refused);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Scheduler::submit_group(Now now, const GroupSubmission& submission) {
  ASSIGN_OR_RETURN(const v1::GroupState* known, find_group_request(submission));
  if (known != nullptr) return known->group().group_id();
  GALLEON_CHECK(!submission.members.empty()) << "a group without jobs";
  RETURN_IF_ERROR(check_group(submission));
  RETURN_IF_ERROR(check_group_fits(submission));
  const std::string id = group_id(submission.name, submission.members.front().number);
  {
    const Acting acting(*this, submission.owner);
    v1::JournalEvent event;
    v1::GroupState& state = *event.mutable_group_created()->mutable_group();
    state.set_number(submission.members.front().number);
    v1::Group& group = *state.mutable_group();
    group.set_group_id(id);
    group.set_name(absl::StrCat("groups/", id));
    group.set_owner(submission.owner);
    group.set_project(queue_config(queue_of(submission.members.front().job))->project);
    group.set_request_id(submission.request_id);
    group.set_max_running(submission.max_running);
    group.set_size(static_cast<uint32_t>(submission.members.size()));
    group.set_by_validation(submission.members.front().job.sweep().by_validation());
    for (const uint64_t step : submission.rungs) group.add_rungs()->set_step(step);
    for (const v1::SweepSetting& setting : submission.members.front().settings) group.add_keys(setting.key());
    emit(now, std::move(event));
  }
  for (Submission member : submission.members) {
    member.group = id;
    (void)create(now, member);
  }
  return id;
}

v1::Group Scheduler::describe(const v1::GroupState& state,
                              const std::function<bool(const v1::JobRecord&)>& sees) const {
  v1::Group group = state.group();
  std::map<v1::JobRecord::State, uint32_t> counts;
  double best = std::nan("");
  size_t reached = 0;
  size_t judged = 0;
  const uint64_t rung = next_rung(group);
  for (const uint64_t number : state_.members(group.group_id())) {
    const v1::JobState& job = *state_.job_by_number(number);
    if (!sees(job.record())) continue;
    ++counts[job.record().state()];
    group.set_stopped(group.stopped() +
                      (job.record().state() == v1::JobRecord::CANCELLED && job.record().stopped_at_rung() > 0));
    // What a running one has reached stands in what its worker reported last.
    v1::JobRecord newest;
    newest.set_final_train_loss(job.record().final_train_loss());
    *newest.mutable_progress() = job.record().progress();
    if (job.record().has_evaluation()) *newest.mutable_evaluation() = job.record().evaluation();
    if (const AttemptLive* live = live_or_null(job); live != nullptr) {
      const v1::RankReport& first = live->ranks[0].report;
      newest.clear_final_train_loss();
      if (first.has_progress()) *newest.mutable_progress() = first.progress();
      if (first.has_evaluation()) *newest.mutable_evaluation() = first.evaluation();
    }
    if (const double loss = newest_loss(newest, group.by_validation());
        std::isfinite(loss) && (std::isnan(best) || loss < best)) {
      best = loss;
      group.set_best_job_id(job.record().job_id());
      group.set_best_loss(loss);
    }
    if (rung == 0 || is_out(group, job.record().job_id())) continue;
    ++judged;
    reached += is_terminal(job.record().state()) || loss_at(job.record(), rung) != nullptr;
  }
  for (const auto& [job_state, jobs] : counts) {
    v1::Group::StateCount& count = *group.add_states();
    count.set_state(job_state);
    count.set_jobs(jobs);
  }
  if (rung > 0 && reached < judged)
    group.set_message(
        absl::StrCat(reached, " of ", judged, " have reached step ", rung, ", where the worse half ends"));
  return group;
}

}  // namespace galleon::server

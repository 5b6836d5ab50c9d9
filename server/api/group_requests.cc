#include "server/api/group_requests.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/api/job_requests.h"
#include "server/core/job_paths.h"

namespace galleon::server {

namespace {

constexpr int kMostRungs = 16;
constexpr size_t kLongestGroupName = 48;
constexpr size_t kLongestRequestId = 128;
constexpr int kMostSettings = 32;
constexpr size_t kLongestKey = 256;
constexpr size_t kLongestValue = 1024;

using Member = v1::CreateGroupRequest::Member;

std::string settings_text(const Member& member) {
  std::string text;
  for (const v1::SweepSetting& setting : member.settings())
    absl::StrAppend(&text, text.empty() ? "" : ", ", setting.key(), "=", setting.value());
  return text;
}

absl::Status wrong(int index, absl::string_view what, const Member& member) {
  return absl::InvalidArgumentError(
      absl::StrCat("members[", index, "].", what, " (the job with ", settings_text(member), ")"));
}

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kLongestGroupName && absl::ascii_isalnum(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; });
}

bool has_validation(const v1::Job& job) {
  return !job.data().validation().empty() && job.training().evaluate_every() > 0;
}

absl::Status check_settings(const v1::CreateGroupRequest& request) {
  std::set<std::string> known;
  const Member& first = request.members(0);
  for (int i = 0; i < request.members_size(); ++i) {
    const Member& member = request.members(i);
    if (member.settings_size() > kMostSettings)
      return absl::InvalidArgumentError(absl::StrCat("members[", i, "].settings: more than ", kMostSettings));
    const bool same_keys =
        std::equal(member.settings().begin(), member.settings().end(), first.settings().begin(), first.settings().end(),
                   [](const auto& a, const auto& b) { return a.key() == b.key(); });
    if (!same_keys || member.settings().empty())
      return wrong(i, "settings: each member has the same keys, in one order, and one at least", member);
    for (const v1::SweepSetting& setting : member.settings()) {
      if (setting.key().empty() || setting.key().size() > kLongestKey || setting.value().size() > kLongestValue)
        return wrong(i,
                     absl::StrCat("settings: a key has 1 to ", kLongestKey, " bytes, a value at most ", kLongestValue),
                     member);
    }
    if (!known.insert(settings_text(member)).second)
      return wrong(i, "settings: another member has the same; give each value once", member);
  }
  return absl::OkStatus();
}

// A place that two members would write to. What lies below a job's own folder is another for each.
absl::Status check_places(const v1::CreateGroupRequest& request) {
  std::map<std::string, int> places;
  for (int i = 0; i < request.members_size(); ++i) {
    const v1::Checkpoint& checkpoint = request.members(i).job().checkpoint();
    const auto taken = [&](const std::string& key, const std::string& place) {
      const auto [it, added] = places.emplace(absl::StrCat(key, " ", place), i);
      if (added) return absl::OkStatus();
      return wrong(i,
                   absl::StrCat("job.checkpoint.", key, ": ", place, " is that of members[", it->second,
                                "] too, and their checkpoints would replace each other; leave it out, or sweep it"),
                   request.members(i));
    };
    if (request.members_size() > 1 && checkpoints_of(request.members(i).job()).empty())
      RETURN_IF_ERROR(taken("directory", checkpoint.directory()));
    if (!checkpoint.copy_to().empty()) RETURN_IF_ERROR(taken("copy_to", checkpoint.copy_to()));
  }
  return absl::OkStatus();
}

absl::Status check_rung(const v1::Job& job, uint64_t step, bool by_validation, int index, const Member& member) {
  const v1::Training& training = job.training();
  const uint64_t every = by_validation ? training.evaluate_every() : std::max<uint32_t>(1, training.log_every());
  if (step % every != 0) {
    return wrong(index,
                 absl::StrCat("job.training.", by_validation ? "evaluate_every" : "log_every", ": ", every,
                              " leaves no ", by_validation ? "validation" : "training", " loss at step ", step,
                              ", where the worse half is to end; give a multiple of it to stop_worst_after"),
                 member);
  }
  if (training.has_steps() && step >= training.steps()) {
    return wrong(index,
                 absl::StrCat("job.training.steps: ", training.steps(), " are over at step ", step,
                              ", where the worse half is to end; give an earlier one to stop_worst_after"),
                 member);
  }
  return absl::OkStatus();
}

absl::Status check_rungs(const v1::CreateGroupRequest& request) {
  const auto& rungs = request.stop_worst_after();
  if (rungs.empty()) return absl::OkStatus();
  if (rungs.size() > kMostRungs)
    return absl::InvalidArgumentError(absl::StrCat("stop_worst_after: ", rungs.size(), " steps, at most ", kMostRungs));
  for (int i = 0; i < rungs.size(); ++i) {
    if (rungs[i] == 0 || (i > 0 && rungs[i] <= rungs[i - 1]))
      return absl::InvalidArgumentError("stop_worst_after: steps from 1 on, each later than the one before");
  }
  const bool by_validation = has_validation(request.members(0).job());
  for (int i = 0; i < request.members_size(); ++i) {
    const Member& member = request.members(i);
    if (has_validation(member.job()) != by_validation) {
      return wrong(i,
                   "job.data.validation: some members are evaluated and others are not, so that they cannot be "
                   "compared; leave out stop_worst_after, or give all of them data.validation",
                   member);
    }
    for (const uint64_t step : rungs) RETURN_IF_ERROR(check_rung(member.job(), step, by_validation, i, member));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status check_group_request(const v1::CreateGroupRequest& request, const ServiceContext& context) {
  if (request.members().empty()) return absl::InvalidArgumentError("members: a group has one job at least");
  if (request.members_size() > kMostMembers) {
    return absl::InvalidArgumentError(
        absl::StrCat("members: ", request.members_size(), " jobs, at most ", kMostMembers, " make a group"));
  }
  if (!is_name(request.group_name())) {
    return absl::InvalidArgumentError(absl::StrCat("group_name: \"", request.group_name(),
                                                   "\" is not a name; use 1 to ", kLongestGroupName,
                                                   " lower-case letters, digits and '-', the first not '-'"));
  }
  if (request.request_id().size() > kLongestRequestId)
    return absl::InvalidArgumentError(absl::StrCat("request_id: is longer than ", kLongestRequestId, " bytes"));
  RETURN_IF_ERROR(check_settings(request));
  for (int i = 0; i < request.members_size(); ++i) {
    const Member& member = request.members(i);
    if (!member.job().attached().empty())
      return wrong(i, "job.attached: files come with a job that is submitted alone", member);
    if (const absl::Status status = check_job(member.job()); !status.ok()) return wrong(i, status.message(), member);
    if (!context.validate_job) continue;
    if (const absl::Status status = context.validate_job(member.job()); !status.ok())
      return wrong(i, status.message(), member);
  }
  RETURN_IF_ERROR(check_places(request));
  return check_rungs(request);
}

Scheduler::GroupSubmission group_submission(const v1::CreateGroupRequest& request, const std::string& owner,
                                            const std::string& jobs_folder) {
  Scheduler::GroupSubmission submission;
  submission.name = request.group_name();
  submission.request_id = request.request_id();
  submission.max_running = request.max_running();
  submission.rungs.assign(request.stop_worst_after().begin(), request.stop_worst_after().end());
  submission.owner = owner;
  for (const Member& member : request.members()) {
    Scheduler::Submission& one = submission.members.emplace_back();
    one.job = member.job();
    one.jobs_folder = jobs_folder;
    one.owner = owner;
    one.allow_pending = request.allow_pending();
    one.settings.assign(member.settings().begin(), member.settings().end());
    v1::SweepMember& sweep = *one.job.mutable_sweep();
    for (const uint64_t step : submission.rungs) sweep.add_rungs(step);
    sweep.set_by_validation(has_validation(member.job()));
  }
  return submission;
}

}  // namespace galleon::server

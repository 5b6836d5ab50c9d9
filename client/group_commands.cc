// Jobs that are submitted together: galleon submit --sweep, and what get and wait say of a group.
#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/commands.h"
#include "client/inputs.h"
#include "client/job_client.h"
#include "client/sweep.h"
#include "client/tables.h"
#include "common/base/ids.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

std::string settings_text(const v1::JobRecord& job) {
  return absl::StrJoin(job.settings(), ", ", [](std::string* out, const v1::SweepSetting& setting) {
    absl::StrAppend(out, setting.key(), "=", setting.value());
  });
}

std::string rungs_text(const v1::Group& group) {
  std::vector<std::string> parts;
  for (const v1::GroupRung& rung : group.rungs()) {
    parts.push_back(rung.decided()
                        ? absl::StrCat(rung.step(), " (", rung.kept(), " of ", rung.ranking_size(), " went on)")
                        : absl::StrCat(rung.step()));
  }
  return parts.empty() ? ""
                       : absl::StrCat("the worse half ends at step ", absl::StrJoin(parts, ", "), ", by the ",
                                      group.by_validation() ? "validation" : "training", " loss");
}

void print_made(const v1::CreateGroupResponse& made, bool validate_only) {
  const v1::Group& group = made.group();
  std::cout << (validate_only ? "valid: " : absl::StrCat("submitted ", group.group_id(), ": ")) << made.jobs_size()
            << (made.jobs_size() == 1 ? " job" : " jobs");
  if (group.max_running() > 0) std::cout << ", " << group.max_running() << " at a time";
  if (group.rungs_size() > 0) std::cout << "; " << rungs_text(group);
  std::cout << "\n";
  std::vector<std::vector<std::string>> rows;
  for (const v1::JobRecord& job : made.jobs())
    rows.push_back({job.job_id().empty() ? job.job().name() : job.job_id(), settings_text(job), job.message()});
  std::cout << table({"JOB", "SETTINGS", "MESSAGE"}, rows) << std::flush;
}

absl::StatusOr<v1::CreateGroupRequest> request_of(JobClient& client, const SubmitArguments& arguments) {
  ASSIGN_OR_RETURN(const JobText file, read_job_text(arguments.job));
  const FillShape fill = [&](const v1::Job& job) { return with_shape(arguments.inputs, client, job); };
  ASSIGN_OR_RETURN(v1::CreateGroupRequest request, sweep_request(file, arguments.settings, arguments.sweeps, fill));
  request.set_request_id(arguments.request_id.empty() ? random_hex(16) : arguments.request_id);
  request.set_validate_only(arguments.validate_only);
  request.set_allow_pending(arguments.allow_pending);
  request.set_max_running(arguments.max_running);
  for (const uint64_t step : arguments.stop_worst_after) request.add_stop_worst_after(step);
  return request;
}

// All of its jobs, as they were submitted.
absl::StatusOr<std::vector<v1::JobRecord>> members_of(JobClient& client, const std::string& group) {
  v1::ListJobsRequest request;
  request.set_page_size(500);
  request.set_group(group);
  ASSIGN_OR_RETURN(std::vector<v1::JobRecord> jobs, client.list_jobs(request));
  std::reverse(jobs.begin(), jobs.end());
  return jobs;
}

int exit_code_of(const v1::Group& group) {
  bool cancelled = false;
  for (const v1::Group::StateCount& count : group.states()) {
    if (count.state() == v1::JobRecord::FAILED) return 1;
    cancelled |= count.state() == v1::JobRecord::CANCELLED && count.jobs() > group.stopped();
  }
  return cancelled ? 2 : 0;
}

bool has_ended(const v1::Group& group) {
  return std::all_of(group.states().begin(), group.states().end(),
                     [](const v1::Group::StateCount& count) { return is_terminal(count.state()); });
}

}  // namespace

int run_sweep(const Remote& remote, const SubmitArguments& arguments) {
  if (!arguments.attach.empty())
    return galleon::fail("--attach is for one job; put what a sweep reads where workers read");
  if (arguments.watch) return fail("--watch shows one job; --wait waits for all jobs of a sweep");
  JobClient client = client_of(remote);
  const absl::StatusOr<v1::CreateGroupRequest> request = request_of(client, arguments);
  if (!request.ok()) return fail(std::string(request.status().message()));
  const absl::StatusOr<v1::CreateGroupResponse> made = client.create_group(*request);
  if (!made.ok()) return fail(std::string(made.status().message()));
  const bool waits = arguments.wait && !arguments.validate_only;
  if (remote.format == OutputFormat::kTable) {
    print_made(*made, arguments.validate_only);
  } else if (waits) {
    std::cerr << "submitted " << made->group().group_id() << "\n";
  } else {
    print_message(*made, remote.format);
  }
  return waits ? run_wait_group(remote, made->group().group_id(), 0) : 0;
}

int run_get_group(const Remote& remote, const std::string& name) {
  JobClient client = client_of(remote);
  const absl::StatusOr<v1::Group> group = client.get_group(name);
  if (!group.ok()) return fail(std::string(group.status().message()));
  const absl::StatusOr<std::vector<v1::JobRecord>> jobs = members_of(client, name);
  if (!jobs.ok()) return fail(std::string(jobs.status().message()));
  if (remote.format != OutputFormat::kTable) {
    v1::CreateGroupResponse whole;
    *whole.mutable_group() = *group;
    *whole.mutable_jobs() = {jobs->begin(), jobs->end()};
    print_message(whole, remote.format);
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  const auto add = [&rows](const std::string& key, const std::string& value) {
    if (!value.empty()) rows.push_back({key, value});
  };
  add("group", group->group_id());
  add("jobs", states_text(*group));
  add("", group->message());
  add("sweeps", absl::StrJoin(group->keys(), ", "));
  add("at a time", group->max_running() == 0 ? "" : absl::StrCat(group->max_running()));
  add("halving", rungs_text(*group));
  add("best", group->best_job_id().empty() ? "" : absl::StrCat(group->best_job_id(), ", loss ", group->best_loss()));
  add("owner", group->owner());
  add("submitted", absl::StrCat(human_age(group->create_time_ms(), absl::ToUnixMillis(absl::Now())), " ago"));
  std::cout << table({"", ""}, rows) << "\n" << job_table(*jobs);
  return 0;
}

int run_wait_group(const Remote& remote, const std::string& name, double timeout_seconds) {
  JobClient client = client_of(remote);
  const absl::Time deadline =
      timeout_seconds > 0 ? absl::Now() + absl::Seconds(timeout_seconds) : absl::InfiniteFuture();
  bool reached = false;
  while (true) {
    const absl::StatusOr<v1::Group> group = client.get_group(name);
    const bool away = absl::IsUnavailable(group.status()) || absl::IsDeadlineExceeded(group.status());
    if (!group.ok() && (!reached || !away)) {
      (void)fail(std::string(group.status().message()));
      return kOwnError;
    }
    reached |= group.ok();
    if (group.ok() && has_ended(*group)) {
      if (remote.format != OutputFormat::kTable) {
        print_message(*group, remote.format);
      } else {
        std::cout << group->group_id() << " " << states_text(*group);
        if (!group->best_job_id().empty())
          std::cout << "; best: " << group->best_job_id() << ", loss " << group->best_loss();
        std::cout << "\n";
      }
      return exit_code_of(*group);
    }
    if (absl::Now() >= deadline) {
      (void)fail(absl::StrCat(name, " has not ended after ", human_duration(timeout_seconds),
                              group.ok() ? absl::StrCat(": ", states_text(*group)) : ""));
      return 3;
    }
    absl::SleepFor(std::min(absl::Milliseconds(500), deadline - absl::Now()));
  }
}

}  // namespace galleon

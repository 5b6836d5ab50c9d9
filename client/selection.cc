#include "client/selection.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "proto/jobfile/labels.h"

namespace galleon {

namespace {

constexpr size_t kNamesShown = 8;
constexpr int kMostTries = 5;  // of an order for a job that changes all the time

bool takes(const OrderWords& order, v1::JobRecord::State state) {
  return order.states.empty() || std::find(order.states.begin(), order.states.end(), state) != order.states.end();
}

std::string word(v1::JobRecord::State state) {
  return absl::AsciiStrToLower(v1::JobRecord::State_Name(state));
}

// The filters, and of the states those that the order takes.
absl::StatusOr<v1::ListJobsRequest> selecting(const Selection& selection, const OrderWords& order) {
  ASSIGN_OR_RETURN(v1::ListJobsRequest request, list_request(selection));
  for (const int given : request.states()) {
    const auto state = static_cast<v1::JobRecord::State>(given);
    if (takes(order, state)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "--state ", word(state), ": galleon ", order.verb, " takes jobs that are ",
        absl::StrJoin(order.states, ", ",
                      [](std::string* out, v1::JobRecord::State one) { absl::StrAppend(out, word(one)); })));
  }
  if (request.states().empty()) {
    for (const v1::JobRecord::State state : order.states) request.add_states(state);
  }
  return request;
}

std::string names_of(const std::vector<v1::JobRecord>& jobs) {
  std::vector<std::string> names;
  for (const v1::JobRecord& job : jobs) {
    if (names.size() == kNamesShown) break;
    names.push_back(job.job_id());
  }
  return absl::StrCat(absl::StrJoin(names, ", "),
                      jobs.size() > kNamesShown ? absl::StrCat(" and ", jobs.size() - kNamesShown, " more") : "");
}

bool may_order(const Selection& selection, const OrderWords& order, const std::vector<v1::JobRecord>& jobs) {
  if (selection.by_name() || selection.yes) return true;
  const std::string what =
      absl::StrCat(order.verb, " ", jobs.size(), jobs.size() == 1 ? " job: " : " jobs: ", printable(names_of(jobs)));
  if (agreed(absl::StrCat("galleon: ", what, "?"))) return true;
  (void)fail(absl::StrCat("would ", what, "; nothing was done; --yes does it"));
  return false;
}

}  // namespace

bool selects_by_filters(const Selection& selection) {
  return selection.all || !selection.states.empty() || !selection.queue.empty() || !selection.owner.empty() ||
         !selection.labels.empty() || !selection.group.empty();
}

bool agreed(const std::string& question) {
  if (::isatty(STDIN_FILENO) != 1) return false;
  std::cerr << question << " [y/N] ";
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

std::vector<v1::JobRecord::State> live_states() {
  return {v1::JobRecord::QUEUED,  v1::JobRecord::RESERVED,   v1::JobRecord::STARTING,
          v1::JobRecord::RUNNING, v1::JobRecord::PREEMPTING, v1::JobRecord::CANCELLING};
}

std::vector<v1::JobRecord::State> ended_states() {
  return {v1::JobRecord::SUCCEEDED, v1::JobRecord::FAILED, v1::JobRecord::CANCELLED};
}

absl::StatusOr<v1::ListJobsRequest> list_request(const Selection& selection) {
  v1::ListJobsRequest request;
  request.set_page_size(500);
  request.set_queue(selection.queue);
  request.set_owner(selection.owner);
  request.set_group(selection.group);
  for (const std::string& name : selection.states) {
    v1::JobRecord::State state;
    if (!v1::JobRecord::State_Parse(absl::AsciiStrToUpper(name), &state) || state == v1::JobRecord::STATE_UNSPECIFIED) {
      return absl::InvalidArgumentError(absl::StrCat("--state ", name,
                                                     " is not a state; one of queued, reserved, starting, running, "
                                                     "preempting, cancelling, succeeded, failed, cancelled"));
    }
    request.add_states(state);
  }
  for (const std::string& label : selection.labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos)
      return absl::InvalidArgumentError(absl::StrCat("--label ", label, ": KEY=VALUE is accepted"));
    const std::string key = label.substr(0, equals);
    const std::string value = label.substr(equals + 1);
    std::string fault = label_key_fault(key);
    if (fault.empty()) fault = label_value_fault(value);
    if (!fault.empty()) return absl::InvalidArgumentError(absl::StrCat("--label ", label, ": ", fault));
    const auto [it, added] = request.mutable_labels()->insert({key, value});
    if (!added && it->second != value) {
      return absl::InvalidArgumentError(
          absl::StrCat("--label ", label, ": a job has one value of ", key, ", not ", it->second, " too"));
    }
  }
  return request;
}

namespace {

absl::StatusOr<std::vector<v1::JobRecord>> select_members(JobClient& client, const std::string& group,
                                                          const OrderWords& order) {
  Selection members;
  members.group = group;
  ASSIGN_OR_RETURN(const v1::ListJobsRequest request, selecting(members, order));
  ASSIGN_OR_RETURN(std::vector<v1::JobRecord> jobs, client.list_jobs(request));
  if (jobs.empty())
    return absl::NotFoundError(absl::StrCat("no job of ", group, " is such that galleon ", order.verb, " takes it"));
  // As they were submitted.
  std::reverse(jobs.begin(), jobs.end());
  return jobs;
}

}  // namespace

absl::StatusOr<std::vector<v1::JobRecord>> select_jobs(JobClient& client, const Selection& selection,
                                                       const OrderWords& order) {
  if (selection.by_name() && selects_by_filters(selection)) {
    return absl::InvalidArgumentError("jobs are named, and selected by an option too; one of the two is accepted");
  }
  if (selection.by_name()) {
    std::vector<v1::JobRecord> jobs;
    const auto add = [&jobs](v1::JobRecord job) {
      const bool again = std::any_of(jobs.begin(), jobs.end(),
                                     [&job](const v1::JobRecord& other) { return other.name() == job.name(); });
      if (!again) jobs.push_back(std::move(job));
    };
    for (const std::string& name : selection.jobs) {
      if (names_group(name)) {
        ASSIGN_OR_RETURN(std::vector<v1::JobRecord> members, select_members(client, name, order));
        for (v1::JobRecord& member : members) add(std::move(member));
        continue;
      }
      v1::JobRecord job;
      job.set_name(job_name(name));
      job.set_job_id(job.name().substr(5));
      add(std::move(job));
    }
    return jobs;
  }
  if (!selects_by_filters(selection)) return absl::InvalidArgumentError("no job is named");
  const bool more = !selection.states.empty() || !selection.queue.empty() || !selection.owner.empty() ||
                    !selection.labels.empty() || !selection.group.empty();
  if (selection.all && more)
    return absl::InvalidArgumentError("--all selects every job; leave it out, or the other options");
  ASSIGN_OR_RETURN(const v1::ListJobsRequest request, selecting(selection, order));
  ASSIGN_OR_RETURN(std::vector<v1::JobRecord> jobs, client.list_jobs(request));
  if (jobs.empty()) return absl::NotFoundError(absl::StrCat("no job is selected that galleon ", order.verb, " takes"));
  return jobs;
}

namespace {

using Give = std::function<absl::StatusOr<std::string>(const std::string& name, const std::string& etag)>;

// Where the job has changed since it was selected, it is looked at again whether it is still meant. Empty: not any
// more.
absl::StatusOr<std::string> order_one(JobClient& client, const Selection& selection, const OrderWords& order,
                                      const v1::JobRecord& job, const Give& give) {
  absl::StatusOr<std::string> done = give(job.name(), job.etag());
  for (int tries = 1; absl::IsAborted(done.status()) && !job.etag().empty() && tries < kMostTries; ++tries) {
    // Of jobs that are named as a group, nothing but the state has to be true.
    ASSIGN_OR_RETURN(v1::ListJobsRequest request, selecting(selection.by_name() ? Selection() : selection, order));
    request.set_job_id(job.job_id());
    ASSIGN_OR_RETURN(const std::vector<v1::JobRecord> now, client.list_jobs(request));
    if (now.empty()) return "";
    done = give(job.name(), now.front().etag());
  }
  return done;
}

// One document: of one job that was named its own, else a list.
void print_documents(const Remote& remote, const Selection& selection, const std::vector<std::string>& documents) {
  const bool one = selection.jobs.size() == 1 && !names_group(selection.jobs.front());
  if (one && documents.empty()) return;
  const std::string json = one ? documents.front() : absl::StrCat("[\n", absl::StrJoin(documents, ",\n"), "]\n");
  std::cout << (remote.format == OutputFormat::kJson ? json : to_yaml(json));
}

}  // namespace

int order_each(const Remote& remote, JobClient& client, const Selection& selection, const OrderWords& order,
               const Give& give) {
  const absl::StatusOr<std::vector<v1::JobRecord>> jobs = select_jobs(client, selection, order);
  if (!jobs.ok()) return fail(std::string(jobs.status().message()));
  if (!may_order(selection, order, *jobs)) return 1;
  const bool for_people = remote.format == OutputFormat::kTable;
  std::vector<std::string> documents;
  std::vector<std::string> failed;
  for (const v1::JobRecord& job : *jobs) {
    const absl::StatusOr<std::string> done = order_one(client, selection, order, job, give);
    if (!done.ok()) {
      failed.push_back(job.job_id());
      (void)fail(jobs->size() == 1 ? std::string(done.status().message())
                                   : absl::StrCat(job.job_id(), ": ", done.status().message()));
    } else if (done->empty()) {
      std::cerr << printable(job.job_id())
                << " has changed meanwhile, is not selected any more, and was left as it is\n";
    } else if (for_people) {
      std::cout << *done << std::flush;
    } else {
      documents.push_back(*done);
    }
  }
  if (!for_people) print_documents(remote, selection, documents);
  if (!failed.empty() && jobs->size() > 1)
    (void)fail(absl::StrCat(failed.size(), " of ", jobs->size(), " failed: ", absl::StrJoin(failed, ", ")));
  return failed.empty() ? 0 : 1;
}

}  // namespace galleon

// galleon list: the jobs of which something is true, in an order.
#include <algorithm>
#include <iostream>
#include <set>

#include "client/commands.h"
#include "client/job_client.h"
#include "client/selection.h"
#include "client/since.h"
#include "client/tables.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

void sort_jobs(std::vector<v1::JobRecord>& jobs, const std::string& order) {
  const auto by = [&jobs](const auto& key) {
    std::stable_sort(jobs.begin(), jobs.end(),
                     [&key](const v1::JobRecord& a, const v1::JobRecord& b) { return key(a) < key(b); });
  };
  if (order == "oldest") std::reverse(jobs.begin(), jobs.end());
  if (order == "name") by([](const v1::JobRecord& job) { return job.job().name(); });
  if (order == "queue") by([](const v1::JobRecord& job) { return std::pair(job.queue(), job.queue_position()); });
  if (order == "state") by([](const v1::JobRecord& job) { return static_cast<int>(job.state()); });
  if (order == "priority") by([](const v1::JobRecord& job) { return -static_cast<int64_t>(job.priority()); });
  // Those that have not ended come first, as if they ended later.
  if (order == "ended")
    by([](const v1::JobRecord& job) { return job.end_time_ms() == 0 ? INT64_MIN : -job.end_time_ms(); });
}

// Without filters groups are told of whole, else of what is true of some of their jobs.
int print_folded(JobClient& client, const ListArguments& arguments, const std::vector<v1::JobRecord>& jobs) {
  const bool whole = !selects_by_filters(arguments.which) && arguments.prefix.empty() && arguments.since.empty();
  const bool any = std::any_of(jobs.begin(), jobs.end(), [](const v1::JobRecord& job) { return !job.group().empty(); });
  absl::StatusOr<std::vector<v1::Group>> groups = std::vector<v1::Group>();
  if (whole && any) groups = client.list_groups();
  if (!groups.ok()) return fail(std::string(groups.status().message()));
  std::cout << folded_job_table(jobs, *groups);
  return 0;
}

// So many lines of the newest jobs, where the jobs of a group are one.
absl::StatusOr<std::vector<v1::JobRecord>> newest_lines(JobClient& client, const v1::ListJobsRequest& request,
                                                        size_t lines) {
  for (size_t most = lines;; most *= 4) {
    ASSIGN_OR_RETURN(std::vector<v1::JobRecord> jobs, client.list_jobs(request, most));
    std::set<std::string> groups;
    size_t found = 0;
    size_t taken = 0;
    for (; taken < jobs.size(); ++taken) {
      const bool line = jobs[taken].group().empty() || groups.insert(jobs[taken].group()).second;
      if (line && found == lines) break;
      found += line;
    }
    if (most != 0 && jobs.size() == most && taken == jobs.size()) continue;
    jobs.resize(taken);
    return jobs;
  }
}

}  // namespace

int run_list(const Remote& remote, const ListArguments& arguments) {
  absl::StatusOr<v1::ListJobsRequest> request = list_request(arguments.which);
  if (!request.ok()) return fail(std::string(request.status().message()));
  const absl::StatusOr<absl::Time> since = parse_since(arguments.since);
  if (!since.ok()) return fail(std::string(since.status().message()));
  request->set_name_prefix(arguments.prefix);
  if (!arguments.since.empty()) request->set_created_after_ms(absl::ToUnixMillis(*since));
  JobClient client = client_of(remote);
  // Any other order is of all jobs, and the first of them are known only then.
  const bool newest = arguments.sort == "newest";
  // A group is one line for people; programs and whoever asks for its jobs get these.
  const bool folds = newest && remote.format == OutputFormat::kTable && !arguments.wide && !arguments.members &&
                     arguments.which.group.empty();
  absl::StatusOr<std::vector<v1::JobRecord>> jobs = folds && arguments.limit > 0
                                                        ? newest_lines(client, *request, arguments.limit)
                                                        : client.list_jobs(*request, newest ? arguments.limit : 0);
  if (!jobs.ok()) return fail(std::string(jobs.status().message()));
  if (folds) return print_folded(client, arguments, *jobs);
  sort_jobs(*jobs, arguments.sort);
  if (arguments.limit != 0 && jobs->size() > arguments.limit) jobs->resize(arguments.limit);
  if (remote.format != OutputFormat::kTable) {
    print_list(*jobs, remote.format);
  } else {
    std::cout << (arguments.wide ? wide_job_table(*jobs) : job_table(*jobs));
  }
  return 0;
}

}  // namespace galleon

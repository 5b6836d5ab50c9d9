// galleon list: the jobs of which something is true, in an order.
#include <algorithm>
#include <iostream>

#include "client/commands.h"
#include "client/job_client.h"
#include "client/selection.h"
#include "client/since.h"
#include "client/tables.h"

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
  absl::StatusOr<std::vector<v1::JobRecord>> jobs = client.list_jobs(*request, newest ? arguments.limit : 0);
  if (!jobs.ok()) return fail(std::string(jobs.status().message()));
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

// Jobs side by side: two of them with what they take, one usually at full rank; or the many of a sweep, the best first.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/commands.h"
#include "client/comparison.h"
#include "client/job_client.h"
#include "client/wire_bytes.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

// What a job's ledger counted; its plan before it has run.
const v1::MemoryPlan& memory_of(const v1::JobRecord& job) {
  return job.has_ledger() ? job.ledger() : job.plan();
}

std::vector<std::vector<std::string>> rows_of(const std::vector<v1::JobRecord>& jobs) {
  std::vector<std::vector<std::string>> rows;
  auto add = [&](const std::string& name, auto value) {
    std::vector<std::string> row{name};
    for (const v1::JobRecord& job : jobs) row.push_back(value(job));
    rows.push_back(std::move(row));
  };
  add("state", [](const v1::JobRecord& job) { return v1::JobRecord::State_Name(job.state()); });
  add("steps", [](const v1::JobRecord& job) { return absl::StrCat(job.progress().step()); });
  add("training loss", [](const v1::JobRecord& job) { return absl::StrFormat("%.4f", job.progress().loss()); });
  add("validation loss", [](const v1::JobRecord& job) {
    return job.has_evaluation() ? absl::StrFormat("%.4f", job.evaluation().validation_loss()) : "-";
  });
  add("perplexity", [](const v1::JobRecord& job) {
    return job.has_evaluation() ? absl::StrFormat("%.2f", job.evaluation().perplexity()) : "-";
  });
  add("optimizer bytes, with subspaces", [](const v1::JobRecord& job) {
    const v1::MemoryPlan& memory = memory_of(job);
    return human_bytes(static_cast<double>(memory.optimizer_full_rank_bytes()) * (1.0 - memory.saved_ratio()));
  });
  add("at full rank", [](const v1::JobRecord& job) {
    return human_bytes(static_cast<double>(memory_of(job).optimizer_full_rank_bytes()));
  });
  add("saved",
      [](const v1::JobRecord& job) { return absl::StrFormat("%.1f %%", 100.0 * memory_of(job).saved_ratio()); });
  add("sent by rank 0", [](const v1::JobRecord& job) {
    return human_bytes(static_cast<double>(sent_bytes(job.progress().communication_total())));
  });
  add("dense gradients would have sent", [](const v1::JobRecord& job) {
    return human_bytes(static_cast<double>(job.progress().communication_dense_total_bytes()));
  });
  add("tokens/s", [](const v1::JobRecord& job) {
    const v1::StepMetrics& p = job.progress();
    return p.seconds() > 0 ? human_count(static_cast<double>(p.tokens()) / p.seconds()) : "-";
  });
  return rows;
}

// The jobs that are named, and of the groups that are the other ones.
absl::StatusOr<std::vector<v1::JobRecord>> jobs_of(JobClient& client, const std::vector<std::string>& names) {
  std::vector<v1::JobRecord> jobs;
  std::set<std::string> known;
  for (const std::string& name : names) {
    std::vector<v1::JobRecord> found;
    if (names_group(name)) {
      v1::ListJobsRequest request;
      request.set_page_size(500);
      request.set_group(name);
      ASSIGN_OR_RETURN(found, client.list_jobs(request));
      std::reverse(found.begin(), found.end());
    } else {
      ASSIGN_OR_RETURN(v1::JobRecord job, client.get_job(name));
      known.insert(job.job_id());
      jobs.push_back(std::move(job));
    }
    for (v1::JobRecord& job : found) {
      if (known.insert(job.job_id()).second) jobs.push_back(std::move(job));
    }
  }
  return jobs;
}

// Whole, or not at all; a pipe or a device is written to as it is.
absl::Status write_output(const std::string& path, const std::string& text) {
  std::error_code error;
  if (!std::filesystem::exists(path, error) || std::filesystem::is_regular_file(path, error))
    return write_file_atomically(path, text);
  if (std::filesystem::is_directory(path, error)) return absl::InvalidArgumentError(absl::StrCat(path, " is a folder"));
  std::ofstream out(path);
  out << text << std::flush;
  return out.good() ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

}  // namespace

int run_compare(const Remote& remote, const CompareArguments& arguments) {
  if (arguments.csv && remote.format != OutputFormat::kTable) return fail("--csv and -o are two formats; give one");
  if (arguments.logarithmic && arguments.plot.empty()) return fail("--log is of the picture; give --plot FILE.svg");
  JobClient client = client_of(remote);
  const absl::StatusOr<std::vector<v1::JobRecord>> jobs = jobs_of(client, arguments.jobs);
  if (!jobs.ok()) return fail(std::string(jobs.status().message()));
  const bool grouped = std::any_of(arguments.jobs.begin(), arguments.jobs.end(), names_group);
  const bool side_by_side = !grouped && !arguments.csv && remote.format == OutputFormat::kTable;
  if (side_by_side) {
    std::vector<std::string> header{""};
    for (const v1::JobRecord& job : *jobs) header.push_back(job.job_id());
    std::cout << table(header, rows_of(*jobs));
    if (arguments.plot.empty()) return 0;
  }
  std::vector<Curve> curves;
  for (const v1::JobRecord& job : *jobs) {
    absl::StatusOr<Curve> curve = read_curve(client, job);
    if (!curve.ok()) return fail(absl::StrCat(job.job_id(), ": ", curve.status().message()));
    curves.push_back(*std::move(curve));
  }
  const Comparison comparison = compare_jobs(*jobs, std::move(curves));
  if (!arguments.plot.empty()) {
    const std::string title = absl::StrJoin(arguments.jobs, ", ");
    const absl::Status written = write_output(arguments.plot, comparison_svg(comparison, title, arguments.logarithmic));
    if (!written.ok()) return fail(absl::StrCat("--plot: ", written.message()));
  }
  if (side_by_side) return 0;
  if (arguments.csv) {
    std::cout << comparison_csv(comparison);
  } else if (remote.format == OutputFormat::kTable) {
    std::cout << comparison_table(comparison);
  } else {
    const std::string json = comparison_json(comparison);
    std::cout << (remote.format == OutputFormat::kJson ? json : to_yaml(json));
  }
  return 0;
}

}  // namespace galleon

// Two jobs side by side, one of them usually at full rank.
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "client/wire_bytes.h"

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

}  // namespace

int run_compare(const Remote& remote, const std::vector<std::string>& names) {
  JobClient client = client_of(remote);
  std::vector<v1::JobRecord> jobs;
  std::vector<std::string> header{""};
  for (const std::string& name : names) {
    absl::StatusOr<v1::JobRecord> job = client.get_job(name);
    if (!job.ok()) return fail(std::string(job.status().message()));
    header.push_back(job->job_id());
    jobs.push_back(*std::move(job));
  }
  std::cout << table(header, rows_of(jobs));
  return 0;
}

}  // namespace galleon

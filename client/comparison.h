// Jobs side by side: what they have otherwise than each other, and how far they have come with it.
#pragma once

#include <string>
#include <vector>

#include "client/curves.h"
#include "galleon/v1/jobs.pb.h"

namespace galleon {

struct Compared {
  v1::JobRecord job;
  std::vector<std::string> settings;  // values of the comparison's keys; empty: it has none
  Curve curve;
  // The last and the lowest; NaN: it has none.
  double training = 0;
  double best_training = 0;
  double validation = 0;
  double best_validation = 0;
};

struct Comparison {
  std::vector<std::string> keys;  // of the job file, that are not the same in all
  bool by_validation = false;     // all jobs that have a loss have a validation loss
  std::vector<Compared> jobs;     // the best first
};

// Keys of the job file and their values, "optimizer.galore.rank" each; names and what comes from them are left out.
std::vector<std::pair<std::string, std::string>> flat_keys(const v1::Job& job);
// `curves`: of each job. Those without a loss come last; of equals, as they came.
Comparison compare_jobs(std::vector<v1::JobRecord> jobs, std::vector<Curve> curves);

std::string comparison_table(const Comparison& comparison);
std::string comparison_csv(const Comparison& comparison);
// An array; a loss that is not there is null.
std::string comparison_json(const Comparison& comparison);
std::string comparison_svg(const Comparison& comparison, const std::string& title, bool logarithmic);

}  // namespace galleon

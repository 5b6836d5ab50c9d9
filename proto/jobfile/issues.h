// What is wrong with a job, by key, before it becomes lines of text.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "galleon/v1/job.pb.h"

namespace galleon {

struct JobIssue {
  std::string key;  // dotted, "optimizer.rule"
  std::string text;
  int line = 0;  // of the job file; 0 when unknown
};

using JobIssues = std::vector<JobIssue>;

// Ranges and contradictions (validate.cc), and numbers of enumerations that have no word (unknown_values.cc).
void find_contradictions(const v1::Job& job, JobIssues& issues);
void find_unknown_values(const v1::Job& job, JobIssues& issues);

}  // namespace galleon

// Job files as a command gets them: from a file or standard input, and with the model's shape filled in.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "galleon/v1/job.pb.h"

namespace galleon {

struct JobText {
  std::string text;
  std::string name;    // in errors
  std::string folder;  // that its paths are relative to
};
// "-": standard input, with paths relative to the current folder.
absl::StatusOr<JobText> read_job_text(const std::string& path);
// The job with its model's shape, which galleon-trainer finds out.
absl::StatusOr<v1::Job> resolve_job(const v1::Job& job);

}  // namespace galleon

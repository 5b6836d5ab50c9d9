// Small files that only the submitter has, sent with a job: tokenizers, chat templates, a model's config.json. Weights
// and data are never among them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/job_client.h"
#include "galleon/v1/job.pb.h"

namespace galleon {

struct Attachment {
  std::string name;  // as the job has it, such as tokenizer/tokenizer.json
  std::string content;
  std::string sha256;
};

struct Attachments {
  std::vector<Attachment> files;
  std::vector<std::pair<std::string, std::string>>
      paths;  // key of the job file, and the value that stands for its files

  bool empty() const { return files.empty(); }
};

// What is sent of the job's files for these keys. INVALID_ARGUMENT names a key that has none, or that is too large.
absl::StatusOr<Attachments> attachments_of(const v1::Job& job, const std::vector<std::string>& keys);
// The job as it is submitted with them.
v1::Job with_attachments(v1::Job job, const Attachments& attached);
// Sends them in pieces. What is sent twice is taken once.
absl::Status send(JobClient& client, const Attachments& attached, const std::string& request_id);

}  // namespace galleon

// Where a job's model is read, and its tokenizer and data are looked for, before the job is submitted.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "galleon/v1/job.pb.h"

namespace galleon {

// The first of what the job names that is not on this machine, as "tokenizer: /data/tokenizer.json", or the program
// that would read it; empty: all is here, or in an object store.
std::string missing_here(const v1::Job& job);

// The job with its model's shape, read by galleon-trainer here or by a worker that may run the job. By itself here, if
// nothing that it names is missing here.
absl::StatusOr<v1::Job> with_shape(InputsOn where, JobClient& client, const v1::Job& job);

}  // namespace galleon

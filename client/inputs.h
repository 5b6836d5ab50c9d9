// Where a job's model is read, and its tokenizer and data are looked for, before the job is submitted.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/attachments.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "galleon/v1/job.pb.h"

namespace galleon {

// What of all that the job names is not on this machine first, as "tokenizer: there is no /data/tokenizer.json", or
// that the program is missing that would read it; empty: all is here, or in an object store.
std::string missing_here(const v1::Job& job);

// The job with its model's shape, read by galleon-trainer here or by a worker that may run the job. By itself here, if
// nothing that it names is missing here.
absl::StatusOr<v1::Job> with_shape(InputsOn where, JobClient& client, const v1::Job& job);
// The same of a job that comes with files; it names them as the scheduler knows them. They have been
// sent.
absl::StatusOr<v1::Job> with_shape(InputsOn where, JobClient& client, const v1::Job& job, const Attachments& attached,
                                   const std::string& request_id);

}  // namespace galleon

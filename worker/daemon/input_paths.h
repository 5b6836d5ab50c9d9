// Which files a job may touch on this machine.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "galleon/v1/job.pb.h"

namespace galleon {

// The folders as they are without symbolic links, and addresses in object stores. NOT_FOUND names a folder that does
// not exist, INVALID_ARGUMENT an address that is none.
absl::StatusOr<std::vector<std::string>> resolve_roots(const std::vector<std::string>& roots);

// Addresses alone; errors name --allow-copies.
absl::StatusOr<std::vector<std::string>> resolve_copies(const std::vector<std::string>& addresses);

// The roots, and beside them the folder of another job that the scheduler lets a job read; empty: none.
std::vector<std::string> with_readable(std::vector<std::string> roots, const std::string& folder);

// Checks, symbolic links resolved, that everything the job reads lies under one of `roots` or in its own folder, and
// that its checkpoints do not leave that folder, nor their copies the addresses `copies`. PERMISSION_DENIED names the
// path and the roots, INVALID_ARGUMENT what is wrong on any machine. Without `has_folder` the job is not submitted yet,
// and `job_folder` is only where relative paths begin.
absl::Status check_input_paths(const v1::Job& job, const std::string& job_folder, const std::vector<std::string>& roots,
                               const std::vector<std::string>& copies, bool has_folder = true);

// NOT_FOUND: the first of the job's model, tokenizer and data that is not on this machine.
absl::Status check_inputs_present(const v1::Job& job);

}  // namespace galleon

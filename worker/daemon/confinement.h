// What a trainer may touch on this machine: it reads what jobs may read and writes its job's folder, as a user of its
// own where one is given. The trainer itself opens nothing else for a job; Landlock, where the kernel has it, holds all
// of its process to that, libraries included.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/landlock.h"

namespace galleon {

struct Confinement {
  std::vector<std::string> reads;   // folders that jobs may read, symbolic links resolved, and addresses
  std::vector<std::string> writes;  // the job's folder, and that of copies from object stores
  std::string user;                 // empty: the daemon's own

  // The folders as a trainer's options.
  std::vector<std::string> options() const;
};

// All that a trainer needs beside: itself, the system's libraries and what they read, devices, shared memory, and the
// credentials of object stores where `reads` has addresses.
FileRules file_rules(const Confinement& confinement, const std::string& trainer);

// OK: this process may run trainers as that user. NOT_FOUND: there is none; PERMISSION_DENIED says what is lacking;
// INVALID_ARGUMENT: root.
absl::Status check_trainer_user(const std::string& name);

// Makes a job's folder if it is not there, and gives it to that user; what lies in it stays as it is. Nobody: makes it
// alone.
absl::Status give_job_folder(const std::string& folder, const std::string& user);

// INVALID_ARGUMENT: what must stay the daemon's own lies below a folder that jobs may read.
absl::Status check_own_folders(const std::vector<std::string>& reads, const std::string& data, const std::string& tls);

}  // namespace galleon

// Whether ranks can run on this machine at all: what the daemon tries at its start and again and again, so that the
// scheduler sends nothing to where everything would fail.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/disk_guard.h"
#include "galleon/v1/workers.pb.h"

namespace galleon {

// A job that could not run here for want of something that it names.
struct FailedJob {
  std::string job_id;
  v1::Job job;
  std::string job_folder;
  std::string readable_folder = {};  // of another job
};

struct PlaceOptions {
  std::string trainer;
  std::string data;                // the daemon's own folder
  std::string jobs_folder;         // of the scheduler; empty: not known yet
  std::vector<std::string> roots;  // what jobs may read, as they were resolved at the start
  std::vector<std::string> copies;
  std::vector<std::string> trackers;
  DiskGuard* jobs_disk = nullptr;  // of the jobs' folder; null: a full disk alone is noticed
};

// FAILED_PRECONDITION: the scheduler's folder of jobs is not a folder of this machine.
absl::Status check_jobs_folder(const std::string& folder);

// The trainer says its version, the roots are there, the jobs' folder is there and has space, the daemon's own folder
// can be written and read.
absl::Status check_place(const PlaceOptions& options);

// All of that, and which of the failed jobs would still fail. Blocks for as long as the trainer and the file systems
// do.
v1::WorkerProbe probe_place(const PlaceOptions& options, const std::vector<FailedJob>& failed, uint64_t number);

}  // namespace galleon

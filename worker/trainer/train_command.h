// Training: one rank of a local run, or of an attempt in the service.
#pragma once

#include <string>

#include "common/base/files.h"
#include "galleon/v1/job.pb.h"
#include "galleon/v1/trainer.pb.h"

namespace galleon {

struct LocalRank {
  std::string output;
  int rank = 0;
  int ranks = 1;
  std::string rendezvous;   // a folder, or HOST:PORT, where rank 0 listens
  std::string secret_file;  // with HOST:PORT, whose first line all ranks know
  std::string interface = "127.0.0.1";
  double meet_within = 60;  // seconds
  int events_fd = -1;
  int threads = 0;
  int local_rank = -1;  // among the ranks on this machine; −1: `rank`
  int local_ranks = 0;  // their number; 0: `ranks`
};

// Both return the exit code: 0 done or stopped, 1 failed, 2 failed and would again.
int train_locally(const v1::Job& job, const LocalRank& rank);
// `socket`: listens, and the daemon connects to it.
int train_assignment(const v1::Job& job, const v1::TrainerAssignment& assignment, FileDescriptor socket);

}  // namespace galleon

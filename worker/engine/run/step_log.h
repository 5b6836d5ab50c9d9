// What steps report, summed up for the lines of metrics.jsonl.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/engine/checkpoint/subspace_means.h"
#include "worker/engine/optim/optimizer.h"
#include "worker/engine/run/metrics_file.h"

namespace galleon {

class StepLog {
 public:
  // tokens: of the step, over all ranks.
  void add(const StepReport& report, int64_t tokens, double seconds);
  // What the steps since the last line come to, and the sums since the run began; the newest step's rate and norm. The
  // caller adds what it knows itself. data_waited: seconds since the run began that the engine waited for data; waited:
  // by rank, those that it waited for others.
  StepLine line(const StepReport& newest, double data_waited, const std::vector<double>& waited);
  // As of the newest step.
  const SubspaceMeans& subspaces() const { return subspaces_; }
  // Those of the checkpoint that the run goes on from.
  void resume(const SubspaceMeans& subspaces) { subspaces_ = subspaces; }

 private:
  int64_t tokens_ = 0;
  double seconds_ = 0;
  double refresh_seconds_ = 0;
  SubspaceMeans subspaces_;
  // Since the run began.
  int64_t skipped_ = 0;
  double refresh_seconds_total_ = 0;
  double seconds_total_ = 0;
  double data_waited_ = 0;  // as of the last line
  std::vector<double> waited_;
};

}  // namespace galleon

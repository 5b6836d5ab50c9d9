#include "worker/engine/run/step_log.h"

#include <algorithm>

namespace galleon {

void StepLog::add(const StepReport& report, int64_t tokens, double seconds) {
  tokens_ += tokens;
  seconds_ += seconds;
  seconds_total_ += seconds;
  refresh_seconds_ += report.refresh_seconds;
  subspaces_.overlap.sum += report.overlap_sum;
  subspaces_.overlap.count += report.overlaps;
  subspaces_.energy.sum += report.energy_sum;
  subspaces_.energy.count += report.energies;
  subspaces_.refreshed += report.refreshed;
  skipped_ += report.skipped_refreshes;
}

StepLine StepLog::line(const StepReport& newest, double data_waited, const std::vector<double>& waited) {
  StepLine line;
  line.learning_rate = newest.learning_rate;
  line.grad_norm = newest.grad_norm;
  line.tokens_per_second = static_cast<double>(tokens_) / std::max(seconds_, 1e-9);
  line.refresh_seconds = refresh_seconds_;
  line.refresh_seconds_total = refresh_seconds_total_ += refresh_seconds_;
  line.step_seconds_total = seconds_total_;
  line.subspace_overlap = subspaces_.overlap.take();
  line.captured_energy = subspaces_.energy.take();
  line.refreshed = subspaces_.refreshed;
  line.skipped_refreshes = skipped_;
  line.data_wait_seconds = data_waited - data_waited_;
  line.data_wait_seconds_total = data_waited_ = data_waited;
  if (waited.size() > 1) {
    waited_.resize(waited.size(), 0.0);
    for (size_t i = 0; i < waited.size(); ++i) line.waited_seconds.push_back(waited[i] - waited_[i]);
    waited_ = waited;
  }
  line.waited_total = waited;
  tokens_ = subspaces_.refreshed = 0;
  seconds_ = refresh_seconds_ = 0;
  return line;
}

}  // namespace galleon

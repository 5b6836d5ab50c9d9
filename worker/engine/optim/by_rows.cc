// Matrices over a vocabulary whose gradient is never whole: the backward forms it for some rows, these are updated, and
// the next ones take its place.
#include <algorithm>

#include "kernels/ops/reduction.h"
#include "worker/engine/optim/optimizer.h"
#include "worker/engine/optim/row_bands.h"
#include "worker/engine/optim/slot.h"

namespace galleon {

bool updates_by_rows(const OptimizerOptions& options, int64_t micro_batches, int ranks) {
  return options.per_layer && micro_batches == 1 && ranks == 1 && options.rule != MomentRule::kAdafactor &&
         !options.clip_dense;
}

Tensor Optimizer::rows_accumulator(const Slot& slot) const {
  const Parameter& p = *slot.parameter;
  GALLEON_CHECK(updates_by_rows(options_, micro_batches_, communicator_.ranks()) && !slot.projected() && !p.transposed)
      << p.name << " cannot be updated by rows";
  const int64_t most = RowBands::rows_at_once(p.rows(), p.columns(), options_.piece_bytes);
  const int64_t rows = most < p.rows() ? std::max(slot.shard_unit, most / slot.shard_unit * slot.shard_unit) : most;
  return {nullptr, DataType::kFloat32, rows, p.columns(), p.columns()};
}

int64_t Optimizer::rows_at_once(int parameter) const {
  return slots_[parameter].parameter->by_rows ? slots_[parameter].accumulator.rows : 0;
}

Tensor Optimizer::dense_rows(int parameter, int64_t /*first*/, int64_t count) {
  Slot& slot = slots_[parameter];
  stage(slot);
  slot.filled = true;
  return slot.accumulator.row_range(0, count);
}

void Optimizer::finished_rows(int parameter, int64_t first, int64_t count) {
  Slot& slot = slots_[parameter];
  const Parameter& p = *slot.parameter;
  const Tensor gradient = slot.accumulator.row_range(0, count);
  count_squares(slot, sum_of_squares(device_, gradient));
  const RuleStep step{slot.count + 1, report_.learning_rate, 1.0};
  slot.moments->update(device_, step, first, gradient, Tensor{});
  WeightUpdate how = weight_update(slot, step);
  how.first_row = first;
  apply_dense(device_, p.shard.row_range(first, count),
              p.master.data != nullptr ? p.master.row_range(first, count) : Tensor{}, gradient, how);
  Slot* const done[] = {&slot};
  leave_stage(done);
}

}  // namespace galleon

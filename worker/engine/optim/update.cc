// From gradients to weights: reduction over ranks, the moment rule on own rows, gathering, and the update itself, in
// bundles.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/reduction.h"
#include "worker/engine/optim/in_type.h"
#include "worker/engine/optim/optimizer.h"
#include "worker/engine/optim/slot.h"

namespace galleon {

namespace {

int64_t padded(int64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

Content gradient_content(bool projected) {
  return projected ? Content::kProjectedGradient : Content::kDenseGradient;
}

}  // namespace

int64_t Optimizer::staged_bytes_of(const Slot& slot) {
  return padded(slot.accumulator.bytes());
}

std::vector<std::vector<Optimizer::Slot*>> Optimizer::bundles(absl::Span<Slot* const> slots, int64_t largest) {
  std::vector<std::vector<Slot*>> all;
  int64_t bytes = 0;
  for (Slot* slot : slots) {
    const int64_t more = staged_bytes_of(*slot);
    if (all.empty() || bytes + more > largest) {
      all.emplace_back();
      bytes = 0;
    }
    all.back().push_back(slot);
    bytes += more;
  }
  return all;
}

bool Optimizer::travels(const Slot& slot) const {
  return !slot.replicated && communicator_.ranks() > 1 && !slot.parameter->sharded;
}

// A bundle travels while the backward goes on with the next, if what arrives of it has room.
void Optimizer::flush() {
  if (pending_.empty()) return;
  const std::vector<Slot*> slots = std::exchange(pending_, {});
  pending_bytes_ = 0;
  land();
  const std::vector<ShardedRows> cut = sharded_gradients(slots);
  in_flight_ = slots;
  if (!cut.empty() && communicator_.ranks() > 1 &&
      communicator_.reduction_bytes(cut, options_.wire_type) <= flight_memory_.bytes()) {
    communicator_.begin_reduce_scatter_rows(cut, options_.wire_type, flight_memory_);
    return;
  }
  if (!cut.empty()) communicator_.reduce_scatter_rows(cut, options_.wire_type);
  land();
}

void Optimizer::land() {
  if (in_flight_.empty()) return;
  const std::vector<Slot*> slots = std::exchange(in_flight_, {});
  communicator_.finish_reduce_scatter();
  take_reduced(slots);
  if (options_.per_layer && last_pass()) {
    update(slots, 1.0);
  } else {
    leave_stage(slots);
  }
}

void Optimizer::count_squares(const Slot& slot, double squares) {
  squares_ += squares;
  if (!std::isfinite(squares)) not_finite_ = std::max(not_finite_, slot.parameter->index);
}

std::vector<ShardedRows> Optimizer::sharded_gradients(absl::Span<Slot* const> slots) {
  std::vector<ShardedRows> cut;
  for (const Slot* slot : slots) {
    if (!slot->replicated) cut.push_back({slot->accumulator, slot->shard_unit, gradient_content(slot->projected())});
  }
  return cut;
}

void Optimizer::reduce(absl::Span<Slot* const> slots) {
  const std::vector<ShardedRows> cut = sharded_gradients(slots);
  if (!cut.empty()) communicator_.reduce_scatter_rows(cut, options_.wire_type);
  take_reduced(slots);
}

// After the reduce-scatter: what every rank holds whole is reduced too, and own rows go where they are kept.
void Optimizer::take_reduced(absl::Span<Slot* const> slots) {
  std::vector<Tensor> whole;
  for (const Slot* slot : slots) {
    if (slot->replicated) whole.push_back(slot->accumulator);
  }
  if (!whole.empty()) communicator_.all_reduce(whole, Content::kProjectedGradient);
  for (Slot* slot : slots) {
    if (slot->keeps) {
      const Tensor own = slot->accumulator.row_range(slot->own.begin, slot->own.count);
      if (own.rows > 0) {
        if (slot->kept_filled) {
          add(device_, own, slot->kept);
        } else {
          copy(device_, own, slot->kept);
        }
      }
      slot->kept_filled = true;
      slot->filled = false;
    }
    if (!last_pass()) continue;
    slot->reduced = true;
    // What every rank holds is counted once.
    if (slot->own.count == 0 || (slot->replicated && communicator_.rank() != 0)) continue;
    if (options_.clip_dense && !slot->measured) continue;
    const double squares = sum_of_squares(device_, slot->own_rows());
    if (slot->measured) slot->captured = squares;
    if (!options_.clip_dense) count_squares(*slot, squares);
  }
}

void Optimizer::update(absl::Span<Slot* const> slots, double gradient_scale) {
  gradient_scale_ = gradient_scale;
  // One bundle of partial sums for all matrices; those of replicated ones, which are whole already, lie behind it.
  int64_t bundle = 0;
  int64_t whole = 0;
  for (const Slot* slot : slots) (slot->replicated ? whole : bundle) += slot->moments->sum_count();
  const Workspace memory(device_, (bundle + whole) * bytes_of(DataType::kFloat32));
  const Tensor all = memory.tensor(1, bundle + whole);
  int64_t next = 0;
  int64_t next_whole = bundle;
  for (Slot* slot : slots) {
    int64_t& at = slot->replicated ? next_whole : next;
    slot->sums = all.column_range(at, slot->moments->sum_count());
    at += slot->moments->sum_count();
    if (slot->sums.size() == 0) continue;
    if (slot->skipped) {
      fill(device_, slot->sums, 0.0F);
      continue;
    }
    const InType r(device_, slot->own_rows(), DataType::kFloat32);
    slot->moments->sum(device_, {slot->count + 1, report_.learning_rate, gradient_scale}, r.tensor(), slot->sums);
  }
  if (bundle > 0) communicator_.all_reduce(all.column_range(0, bundle), Content::kStatistic);
  // Two bundles have room in the stage, where there is one: one that is made and one that travels.
  const int64_t largest = stage_.bytes() > 0 ? std::min(kBundleBytes, stage_.bytes() / 2) : kBundleBytes;
  for (const std::vector<Slot*>& together : bundles(slots, largest)) update_bundle(together);
}

// The updates of a bundle travel while those of the next are computed. They lie where the gradients are, in the type of
// the wire, as their owner too applies what the others receive. What has no room there, because the wire's type is the
// wider one, lies in the workspace, and is waited for.
void Optimizer::update_bundle(absl::Span<Slot* const> slots) {
  if (!communicator_.status().ok()) {
    leave_stage(slots);
    return;
  }
  const int64_t wire_bytes = bytes_of(options_.wire_type);
  int64_t bytes = 0;
  for (Slot* slot : slots) {
    slot->update = Tensor{};
    if (!travels(*slot) || slot->skipped) continue;
    Tensor& whole = slot->accumulator;
    const bool fits = wire_bytes <= bytes_of(whole.type);
    if (fits && whole.data == nullptr && !place(*slot)) {
      settle();
      place(*slot);
    }
    slot->update = Tensor{fits ? whole.data : nullptr, options_.wire_type, whole.rows, whole.columns, whole.columns};
    if (slot->update.data == nullptr) bytes += padded(slot->update.bytes());
  }
  const Workspace memory(device_, bytes);
  auto* free = static_cast<char*>(memory.data());
  std::vector<ShardedRows> cut;
  for (Slot* slot : slots) {
    if (slot->skipped) continue;
    if (travels(*slot)) {
      if (slot->update.data == nullptr) {
        slot->update.data = free;
        free += padded(slot->update.bytes());
      }
      cut.push_back({slot->update, slot->shard_unit, Content::kUpdate});
    }
    make_update(*slot);
  }
  const int64_t gather = cut.empty() ? 0 : communicator_.begin_all_gather_rows(cut);
  settle();
  settling_.assign(slots.begin(), slots.end());
  gather_ = gather;
  if (cut.empty() || bytes > 0) settle();
}

// The rule's update of own rows, among the rows of the whole one where that travels.
void Optimizer::make_update(Slot& slot) {
  const RuleStep step{++slot.count, report_.learning_rate, gradient_scale_};
  const InType own(device_, slot.own_rows(), DataType::kFloat32);
  slot.moments->update(device_, step, 0, own.tensor(), slot.sums);
  const bool travel = travels(slot);
  if (!travel) slot.update = slot.own_rows();
  const Tensor here = travel ? slot.update.row_range(slot.own.begin, slot.own.count) : slot.update;
  if (here.rows == 0 || (here.data == own.tensor().data && here.type == own.tensor().type)) return;
  // Narrower numbers in the place of the wider ones that they are made of.
  const bool over_itself = travel && slot.update.data == slot.accumulator.data && !slot.keeps;
  if (over_itself && here.type != slot.accumulator.type) {
    const InType rounded(device_, own.tensor(), here.type);
    copy(device_, rounded.tensor(), here);
    return;
  }
  convert(device_, own.tensor(), here);
}

void Optimizer::apply_updates(absl::Span<Slot* const> slots) {
  for (Slot* slot : slots) {
    if (slot->skipped) continue;
    apply(*slot, slot->update, weight_update(*slot, {slot->count, report_.learning_rate, gradient_scale_}));
  }
}

void Optimizer::settle() {
  const std::vector<Slot*> slots = std::exchange(settling_, {});
  communicator_.finish_gather(std::exchange(gather_, 0));
  if (communicator_.status().ok()) apply_updates(slots);
  leave_stage(slots);
}

// Of the noise that rounds a parameter's bf16 weight in this step; the same on all ranks.
uint64_t Optimizer::rounding_seed(int parameter) const {
  return (options_.rounding_seed * 0x9E3779B97F4A7C15ULL + static_cast<uint64_t>(step_)) * 0xD1342543DE82EF95ULL +
         static_cast<uint64_t>(parameter);
}

WeightUpdate Optimizer::weight_update(const Slot& slot, const RuleStep& step) const {
  const WeightStep weight = slot.moments->weight_step(step);
  const double keep = 1.0 - step.learning_rate * options_.weight_decay;
  const double size = weight.size * (slot.projected() ? options_.galore->scale : 1.0);
  return {.step = static_cast<float>(weight.decay_first ? size / keep : size),
          .keep = static_cast<float>(keep),
          .noise = rounding_seed(slot.parameter->index),
          .first_row = slot.parameter->first_row};
}

// update: of the rows of the weight that this rank holds; of a matrix with two projected sides, all of its small one.
void Optimizer::apply(const Slot& slot, const Tensor& update, const WeightUpdate& how) {
  const Parameter& p = *slot.parameter;
  if (p.shard.rows == 0) return;
  if (!slot.projected()) {
    apply_dense(device_, p.shard, p.master, update, how);
    return;
  }
  const DataType type = p.shard.type;
  const BasisNumbers basis(device_, slot.basis, type);
  const InType compact(device_, update, type);
  if (!p.two_sided) {
    apply_projected(device_, p.shard, p.master, compact.tensor(), basis.tensor(), how);
    return;
  }
  const BasisNumbers rows(device_, slot.row_basis, type);
  const Workspace memory(device_, p.shard.rows * p.rank * bytes_of(type));
  const Tensor back = memory.tensor(p.shard.rows, p.rank, type);
  matmul(device_, rows.tensor().row_range(p.first_row, p.shard.rows), Transpose::kNo, compact.tensor(), Transpose::kNo,
         back);
  apply_projected(device_, p.shard, p.master, back, basis.tensor(), how);
}

StepReport Optimizer::end_step() {
  refresh_collected();
  flush();
  land();
  settle();
  std::vector<Slot*> all;
  for (Slot& slot : slots_) all.push_back(&slot);
  std::vector<Slot*> left;
  for (Slot* slot : all) {
    if (!slot->reduced) left.push_back(slot);
  }
  for (const std::vector<Slot*>& together : bundles(left)) reduce(together);
  // A dense norm exists on a single rank only, where own rows are all rows and full-rank parameters count as they are.
  if (options_.clip_dense) {
    for (Slot& slot : slots_) {
      if (!slot.projected()) count_squares(slot, sum_of_squares(device_, slot.accumulator));
    }
  }
  std::vector<double> sums{squares_};
  for (const Slot& slot : slots_) {
    if (slot.measured) sums.insert(sums.end(), {slot.captured, slot.energy});
  }
  communicator_.all_reduce_host(sums);
  report_.grad_norm = std::sqrt(sums[0]);
  if (!std::isfinite(report_.grad_norm)) {
    int nearest = -1;
    for (const std::string& told : communicator_.all_gather_text(absl::StrCat(not_finite_))) {
      int index = -1;
      if (absl::SimpleAtoi(told, &index)) nearest = std::max(nearest, index);
    }
    report_.not_finite = nearest >= 0 ? parameters_[nearest].name : "some parameter";
    return report_;
  }
  size_t at = 1;
  for (const Slot& slot : slots_) {
    if (!slot.measured) continue;
    const double captured = sums[at];
    const double energy = sums[at + 1] + (slot.energy_beyond ? captured : 0.0);
    at += 2;
    if (!(energy > 0)) continue;
    report_.energy_sum += captured / energy;
    ++report_.energies;
  }
  if (!options_.per_layer) {
    const bool clip = options_.clip_norm > 0 && report_.grad_norm > options_.clip_norm;
    // The small number keeps the field's usual formula (torch.nn.utils.clip_grad_norm_).
    update(all, clip ? options_.clip_norm / (report_.grad_norm + 1e-6) : 1.0);
    settle();
  }
  return report_;
}

}  // namespace galleon

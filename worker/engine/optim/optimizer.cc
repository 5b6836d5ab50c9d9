#include "worker/engine/optim/optimizer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/reduction.h"
#include "kernels/ops/weight_update.h"
#include "worker/engine/optim/schedule.h"
#include "worker/engine/optim/subspace.h"

namespace galleon {

struct Optimizer::Slot {
  Parameter* parameter = nullptr;
  int projected_index = -1;  // among projected matrices, -1: full rank
  RowRange own;
  Tensor accumulator;   // rows × compact columns
  Tensor basis;         // columns × rank
  Tensor first_moment;  // own rows × compact columns
  Tensor second_moment;
  bool has_basis = false;
  bool frozen_basis = false;
  bool found_now = false;  // the first basis was found for this very step
  bool filled = false;     // the accumulator (or dense gradient) holds this step's first contributions
  bool owns_accumulator = true;
  bool reduced = false;
  bool skipped = false;  // this step's gradient could not be used
  int64_t count = 0;     // updates that the moments have seen
  int dense_held = -1;

  bool projected() const { return projected_index >= 0; }
};

namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// An fp32 or bf16 tensor as one of the other type, in the workspace, or itself.
class InType {
 public:
  InType(Device& device, const Tensor& x, DataType type)
      : memory_(device, x.type == type ? 0 : x.size() * bytes_of(type)),
        tensor_(x.type == type ? x : memory_.tensor(x.rows, x.columns, type)) {
    if (x.type != type) convert(device, x, tensor_);
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  Workspace memory_;
  Tensor tensor_;
};

// The two factors of a gradient in stored orientation: G = aᵀ·b (rows×columns).
struct Factors {
  Tensor a;
  Tensor b;
};

Factors factors(const Parameter& p, const Tensor& x, const Tensor& dy) {
  return p.transposed ? Factors{x, dy} : Factors{dy, x};
}

}  // namespace

Optimizer::Optimizer(const OptimizerOptions& options, std::vector<Parameter>& parameters, int64_t micro_batches,
                     Arena& arena, Communicator& communicator)
    : options_(options),
      parameters_(parameters),
      device_(arena.device()),
      communicator_(communicator),
      micro_batches_(micro_batches) {
  // With one micro-batch and per-layer update nothing outlives its layer's backward: one accumulator serves all but the
  // embedding, whose tied matrix is used at both ends.
  const bool share = options_.per_layer && micro_batches == 1;
  int64_t shared_size = 0;
  int64_t dense_size = 0;
  slots_.resize(parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    Parameter& p = parameters[i];
    Slot& slot = slots_[i];
    slot.parameter = &p;
    slot.own = rows_of_rank(p.rows(), communicator.rank(), communicator.ranks());
    slot.owns_accumulator = !share || p.group == ParameterGroup::kEmbedding;
    if (p.rank > 0) {
      slot.projected_index = projected_count_++;
      dense_size = std::max(dense_size, p.rows() * p.columns());
      slot.basis = arena.tensor(p.name + ".basis", MemoryCategory::kSubspaces, p.columns(), p.rank);
    }
    slot.first_moment =
        arena.tensor(p.name + ".first_moment", MemoryCategory::kOptimizerStates, slot.own.count, p.compact_columns());
    slot.second_moment =
        arena.tensor(p.name + ".second_moment", MemoryCategory::kOptimizerStates, slot.own.count, p.compact_columns());
    if (slot.owns_accumulator) {
      slot.accumulator = arena.tensor(p.name + ".gradient", MemoryCategory::kGradients, p.rows(), p.compact_columns());
    } else {
      shared_size = std::max(shared_size, p.rows() * p.compact_columns());
    }
  }
  if (shared_size > 0) {
    const Tensor shared = arena.tensor("shared gradient", MemoryCategory::kGradients, shared_size, 1);
    for (Slot& slot : slots_) {
      if (slot.owns_accumulator) continue;
      slot.accumulator = Tensor{shared.data, shared.type, slot.parameter->rows(), slot.parameter->compact_columns(),
                                slot.parameter->compact_columns()};
    }
  }
  if (projected_count_ == 0) return;
  dense_scratch_ = arena.tensor("dense gradient", MemoryCategory::kGradients, dense_size, 1);
  if (micro_batches == 1) return;
  // Dense gradients that are accumulated over several micro-batches: as many as matrices are ever due in one step.
  const GaloreOptions& galore = *options_.galore;
  int held = 0;
  for (int64_t step = galore.refresh == RefreshMethod::kExact ? 1 : 2; step <= galore.refresh_interval + 1; ++step) {
    int due_now = 0;
    for (size_t i = 0; i < slots_.size(); ++i) due_now += slots_[i].projected() && due(static_cast<int>(i), step);
    held = std::max(held, due_now);
  }
  for (int i = 0; i < held; ++i) {
    dense_held_.push_back(arena.tensor(absl::StrCat("dense gradient ", i), MemoryCategory::kGradients, dense_size, 1));
  }
  dense_lent_to_.assign(held, -1);
}

Optimizer::~Optimizer() = default;

bool Optimizer::due(int parameter, int64_t step) const {
  const Slot& slot = slots_[parameter];
  if (!slot.projected() || slot.frozen_basis) return false;
  const GaloreOptions& galore = *options_.galore;
  if (step == 1) return true;
  const int64_t phase = (step - 1) % galore.refresh_interval;
  if (!galore.stagger) return phase == 0;
  return phase == slot.projected_index * galore.refresh_interval / projected_count_;
}

// Whether this step accumulates the slot's dense gradient over its micro-batches.
bool Optimizer::needs_dense(const Slot& slot) const {
  if (!slot.projected() || slot.found_now) return false;
  return !slot.has_basis || due(slot.parameter->index, step_);
}

bool Optimizer::finds_basis_in_rounds(const Slot& slot) const {
  return slot.projected() && !slot.has_basis && micro_batches_ > 1 &&
         options_.galore->refresh == RefreshMethod::kSubspace;
}

// Every refresh draws from a stream of its own.
uint64_t Optimizer::refresh_seed(const Slot& slot) const {
  return options_.galore->seed * 0x9E3779B97F4A7C15ULL + static_cast<uint64_t>(step_) * 1000003ULL +
         slot.projected_index * 64ULL;
}

// Of the noise that rounds a parameter's bf16 weight in this step; the same on all ranks.
uint64_t Optimizer::rounding_seed(int parameter) const {
  return (options_.rounding_seed * 0x9E3779B97F4A7C15ULL + static_cast<uint64_t>(step_)) * 0xD1342543DE82EF95ULL +
         static_cast<uint64_t>(parameter);
}

int Optimizer::first_basis_rounds() const {
  const bool needed =
      std::any_of(slots_.begin(), slots_.end(), [&](const Slot& slot) { return finds_basis_in_rounds(slot); });
  return needed ? 2 * kFirstIterations : 0;
}

void Optimizer::begin_round(int round) {
  round_ = round;
  for (Slot& slot : slots_) {
    slot.filled = false;
    if (round == 0 && finds_basis_in_rounds(slot)) start_basis(device_, slot.basis, refresh_seed(slot));
  }
}

// Even rounds: Y += aᵀ·(b·P) in the accumulator. Odd rounds: Z += bᵀ·(a·Y) in the place of the basis, which is not
// needed any more.
void Optimizer::linear_in_round(Slot& slot, const Tensor& a, const Tensor& b) {
  if (!finds_basis_in_rounds(slot)) return;
  const bool range = round_ % 2 == 0;
  const Tensor& first = range ? b : a;
  const Tensor& second = range ? a : b;
  const DataType type = first.type;
  const InType other(device_, range ? slot.basis : slot.accumulator, type);
  const Workspace memory(device_, first.rows * slot.parameter->rank * bytes_of(type));
  const Tensor projected = memory.tensor(first.rows, slot.parameter->rank, type);
  matmul(device_, first, Transpose::kNo, other.tensor(), Transpose::kNo, projected);
  matmul(device_, second, Transpose::kYes, projected, Transpose::kNo, range ? slot.accumulator : slot.basis, 1.0F,
         slot.filled ? 1.0F : 0.0F);
  slot.filled = true;
}

void Optimizer::end_round() {
  const SteadyClock::time_point start = SteadyClock::now();
  const bool last = round_ + 1 == 2 * kFirstIterations;
  for (Slot& slot : slots_) {
    slot.filled = false;
    if (!finds_basis_in_rounds(slot)) continue;
    const uint64_t seed = refresh_seed(slot) + 2 * (round_ / 2) + 2;
    const int owner = slot.projected_index % communicator_.ranks();
    const bool finite = round_ % 2 == 0 ? finish_range(device_, communicator_, slot.accumulator, seed)
                                        : finish_basis(device_, communicator_, slot.basis, owner, seed);
    if (!finite) start_basis(device_, slot.basis, seed);
    if (last) {
      slot.has_basis = true;
      slot.found_now = true;
      ++(finite ? report_.refreshed : report_.skipped_refreshes);
    }
  }
  report_.refresh_seconds += seconds_since(start);
  round_ = -1;
}

Tensor Optimizer::dense_memory(Slot& slot) {
  const Parameter& p = *slot.parameter;
  Tensor memory = dense_scratch_;
  if (micro_batches_ > 1) {
    if (slot.dense_held < 0) {
      const auto free = std::find(dense_lent_to_.begin(), dense_lent_to_.end(), -1);
      GALLEON_CHECK(free != dense_lent_to_.end()) << "no dense gradient left for " << p.name << " in step " << step_;
      slot.dense_held = static_cast<int>(free - dense_lent_to_.begin());
      *free = p.index;
    }
    memory = dense_held_[slot.dense_held];
  }
  return {memory.data, memory.type, p.rows(), p.columns(), p.columns()};
}

void Optimizer::begin_step(int64_t step) {
  step_ = step;
  for (Slot& slot : slots_) slot.found_now = false;
  squares_ = 0;
  not_finite_ = -1;
  report_ = StepReport{};
  report_.learning_rate = options_.learning_rate * schedule_multiplier(options_.schedule, step);
  for (Slot& slot : slots_) {
    slot.filled = false;
    slot.reduced = false;
    slot.skipped = false;
  }
}

void Optimizer::begin_micro_batch(int64_t index) {
  micro_batch_ = index;
}

void Optimizer::linear(int parameter, const Tensor& x, const Tensor& dy) {
  Slot& slot = slots_[parameter];
  const Parameter& p = *slot.parameter;
  const auto [a, b] = factors(p, x, dy);
  if (round_ >= 0) {
    linear_in_round(slot, a, b);
    return;
  }
  const float beta = slot.filled ? 1.0F : 0.0F;
  if (!slot.projected()) {
    matmul(device_, a, Transpose::kYes, b, Transpose::kNo, slot.accumulator, 1.0F, beta);
    slot.filled = true;
    return;
  }
  if (needs_dense(slot)) {
    matmul(device_, a, Transpose::kYes, b, Transpose::kNo, dense_memory(slot), 1.0F, beta);
    slot.filled = true;
    return;
  }
  if (options_.clip_dense) {
    const Tensor g{dense_scratch_.data, dense_scratch_.type, p.rows(), p.columns(), p.columns()};
    matmul(device_, a, Transpose::kYes, b, Transpose::kNo, g);
    count_squares(slot, sum_of_squares(device_, g));
  }
  // G·P = aᵀ·(b·P), without ever forming G.
  const InType basis(device_, slot.basis, b.type);
  const Workspace projected_memory(device_, b.rows * p.rank * bytes_of(b.type));
  const Tensor projected = projected_memory.tensor(b.rows, p.rank, b.type);
  matmul(device_, b, Transpose::kNo, basis.tensor(), Transpose::kNo, projected);
  matmul(device_, a, Transpose::kYes, projected, Transpose::kNo, slot.accumulator, 1.0F, beta);
  slot.filled = true;
}

Tensor Optimizer::dense(int parameter) {
  Slot& slot = slots_[parameter];
  GALLEON_CHECK(!slot.projected()) << slot.parameter->name << " is projected";
  if (!slot.filled) fill(device_, slot.accumulator, 0.0F);
  slot.filled = true;
  return slot.accumulator;
}

bool Optimizer::refresh(Slot& slot, const Tensor& g) {
  const SteadyClock::time_point start = SteadyClock::now();
  const GaloreOptions& galore = *options_.galore;
  const int owner = slot.projected_index % communicator_.ranks();
  const bool had_basis = slot.has_basis;
  const uint64_t seed = refresh_seed(slot);
  RefreshResult result;
  if (galore.refresh == RefreshMethod::kExact) {
    if (!had_basis) start_basis(device_, slot.basis, seed);
    result = exact_basis(device_, communicator_, g, slot.basis, owner);
  } else if (!had_basis) {
    result = find_first_basis(device_, communicator_, g, slot.basis, owner, seed);
  } else {
    result = iterate_subspace(device_, communicator_, g, slot.basis, owner, seed);
  }
  slot.has_basis = true;
  if (!result.changed) {
    ++report_.skipped_refreshes;
  } else {
    ++report_.refreshed;
    if (had_basis) {
      report_.overlap_sum += result.overlap;
      ++report_.overlaps;
      if (galore.moments == MomentsAtRefresh::kReset) {
        fill(device_, slot.first_moment, 0.0F);
        fill(device_, slot.second_moment, 0.0F);
        slot.count = 0;
      }
    }
  }
  report_.refresh_seconds += seconds_since(start);
  return result.changed;
}

void Optimizer::project(Slot& slot, const Tensor& g) {
  if (!refresh(slot, g)) {
    // One bad gradient moves nothing: not the basis, not the moments, not the weight.
    fill(device_, slot.accumulator, 0.0F);
    slot.skipped = true;
    return;
  }
  if (options_.clip_dense) count_squares(slot, sum_of_squares(device_, g));
  // After an exact refresh the owner's gradient is the sum over ranks, and the others have nothing to add.
  const bool summed = options_.galore->refresh == RefreshMethod::kExact && communicator_.ranks() > 1;
  if (summed && communicator_.rank() != slot.projected_index % communicator_.ranks()) {
    fill(device_, slot.accumulator, 0.0F);
    return;
  }
  matmul(device_, g, Transpose::kNo, slot.basis, Transpose::kNo, slot.accumulator);
}

void Optimizer::finished(int parameter) {
  Slot& slot = slots_[parameter];
  if (round_ >= 0 || micro_batch_ + 1 < micro_batches_) return;
  GALLEON_CHECK(slot.filled) << slot.parameter->name << " got no gradient in step " << step_;
  if (needs_dense(slot)) {
    project(slot, dense_memory(slot));
    if (slot.dense_held >= 0) dense_lent_to_[slot.dense_held] = -1;
    slot.dense_held = -1;
  }
  if (options_.per_layer) {
    reduce(slot);
    update(slot, 1.0);
  }
}

void Optimizer::count_squares(const Slot& slot, double squares) {
  squares_ += squares;
  if (!std::isfinite(squares)) not_finite_ = std::max(not_finite_, slot.parameter->index);
}

void Optimizer::reduce(Slot& slot) {
  communicator_.reduce_scatter_rows(slot.accumulator);
  slot.reduced = true;
  if (!options_.clip_dense && slot.own.count > 0) {
    count_squares(slot, sum_of_squares(device_, slot.accumulator.row_range(slot.own.begin, slot.own.count)));
  }
}

void Optimizer::update(Slot& slot, double gradient_scale) {
  const Parameter& p = *slot.parameter;
  if (slot.skipped || !communicator_.status().ok()) return;
  ++slot.count;
  if (slot.own.count > 0) {
    const AdamRule rule{static_cast<float>(options_.beta1), static_cast<float>(options_.beta2),
                        static_cast<float>(options_.epsilon), static_cast<float>(gradient_scale)};
    adam_update(device_, rule, slot.accumulator.row_range(slot.own.begin, slot.own.count), slot.first_moment,
                slot.second_moment);
  }
  communicator_.all_gather_rows(slot.accumulator);
  if (!communicator_.status().ok()) return;
  const auto t = static_cast<double>(slot.count);
  const double rate = report_.learning_rate;
  double step_size = rate * std::sqrt(1.0 - std::pow(options_.beta2, t)) / (1.0 - std::pow(options_.beta1, t));
  const double keep = 1.0 - rate * options_.weight_decay;
  if (slot.projected()) step_size *= options_.galore->scale;
  const WeightUpdate how{
      .step = static_cast<float>(step_size), .keep = static_cast<float>(keep), .noise = rounding_seed(p.index)};
  if (slot.projected()) {
    const InType update(device_, slot.accumulator, p.weight.type);
    const InType basis(device_, slot.basis, p.weight.type);
    apply_projected(device_, p.weight, p.master, update.tensor(), basis.tensor(), how);
  } else {
    apply_dense(device_, p.weight, p.master, slot.accumulator, how);
  }
}

StepReport Optimizer::end_step() {
  if (!options_.per_layer) {
    for (Slot& slot : slots_) reduce(slot);
  }
  // A dense norm exists on a single rank only, where own rows are all rows and full-rank parameters count as they are.
  if (options_.clip_dense) {
    for (Slot& slot : slots_) {
      if (!slot.projected()) count_squares(slot, sum_of_squares(device_, slot.accumulator));
    }
  }
  std::vector<double> sum{squares_};
  communicator_.all_reduce_host(sum);
  report_.grad_norm = std::sqrt(sum[0]);
  if (!std::isfinite(report_.grad_norm)) {
    int nearest = -1;
    for (const std::string& told : communicator_.all_gather_text(absl::StrCat(not_finite_))) {
      int index = -1;
      if (absl::SimpleAtoi(told, &index)) nearest = std::max(nearest, index);
    }
    report_.not_finite = nearest >= 0 ? parameters_[nearest].name : "some parameter";
    return report_;
  }
  if (!options_.per_layer) {
    const bool clip = options_.clip_norm > 0 && report_.grad_norm > options_.clip_norm;
    // The small number keeps the field's usual formula (torch.nn.utils.clip_grad_norm_).
    const double scale = clip ? options_.clip_norm / (report_.grad_norm + 1e-6) : 1.0;
    for (Slot& slot : slots_) update(slot, scale);
  }
  return report_;
}

std::vector<StatePiece> Optimizer::state() {
  std::vector<StatePiece> pieces;
  for (Slot& slot : slots_) {
    const Parameter& p = *slot.parameter;
    pieces.push_back({p.name + ".first_moment", slot.first_moment, slot.own.begin, p.rows(), false});
    pieces.push_back({p.name + ".second_moment", slot.second_moment, slot.own.begin, p.rows(), false});
    if (p.master.data != nullptr) pieces.push_back({p.name + ".master", p.master, 0, p.rows(), true});
    if (slot.projected()) pieces.push_back({p.name + ".basis", slot.basis, 0, p.columns(), true});
  }
  return pieces;
}

std::vector<int64_t> Optimizer::counts() const {
  std::vector<int64_t> counts;
  counts.reserve(slots_.size());
  for (const Slot& slot : slots_) counts.push_back(slot.count);
  return counts;
}

void Optimizer::set_counts(const std::vector<int64_t>& counts) {
  GALLEON_CHECK_EQ(counts.size(), slots_.size());
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].count = counts[i];
    slots_[i].has_basis = slots_[i].projected();
  }
}

void Optimizer::inject_basis(int parameter, const float* basis) {
  Slot& slot = slots_[parameter];
  GALLEON_CHECK(slot.projected()) << slot.parameter->name;
  device_.upload(slot.basis, basis);
  slot.has_basis = true;
  slot.frozen_basis = true;
}

}  // namespace galleon

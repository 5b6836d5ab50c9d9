#include "worker/engine/optim/optimizer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/reduction.h"
#include "kernels/ops/weight_update.h"
#include "worker/engine/optim/in_type.h"
#include "worker/engine/optim/schedule.h"
#include "worker/engine/optim/slot.h"

namespace galleon {

namespace {

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
  slots_.resize(parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    Parameter& p = parameters[i];
    Slot& slot = slots_[i];
    slot.parameter = &p;
    slot.replicated = p.two_sided;
    slot.shard_unit = shard_unit(options, p.compact_rows(), p.compact_columns());
    slot.own = slot.replicated
                   ? RowRange{0, p.compact_rows()}
                   : rows_of_rank(p.compact_rows(), communicator.rank(), communicator.ranks(), slot.shard_unit);
    if (p.rank > 0) {
      const GaloreOptions& galore = *options.galore;
      slot.projected_index = projected_count_++;
      slot.pace.interval = galore.refresh_interval;
      slot.basis = Basis(p.name + ".basis", p.columns(), p.rank, galore.basis_type, arena);
      if (p.two_sided) slot.row_basis = Basis(p.name + ".row_basis", p.rows(), p.rank, galore.basis_type, arena);
    }
    const CompactMatrix matrix{p.name, p.compact_rows(), p.compact_columns(), p.vector, slot.own, slot.replicated};
    slot.moments = allocate_moments(options, matrix, arena);
  }
  allocate_accumulators(arena);
  allocate_dense(arena);
}

Optimizer::~Optimizer() = default;

// Only sums of products are kept in bf16: each adds a whole micro-batch at once. Norms and the embedding receive one
// token after another, and a state that every rank holds is small.
DataType Optimizer::accumulator_type(const Slot& slot) const {
  const Parameter& p = *slot.parameter;
  const bool products = !p.vector && p.group != ParameterGroup::kEmbedding && !slot.replicated;
  return products ? options_.accumulate_type : DataType::kFloat32;
}

void Optimizer::allocate_accumulators(Arena& arena) {
  // With one micro-batch and per-layer update nothing outlives its layer's backward: one accumulator serves all but the
  // embedding, whose tied matrix is used at both ends.
  const bool share = options_.per_layer && micro_batches_ == 1;
  int64_t shared_size = 0;
  for (Slot& slot : slots_) {
    const Parameter& p = *slot.parameter;
    slot.owns_accumulator = !share || p.group == ParameterGroup::kEmbedding;
    const DataType type = accumulator_type(slot);
    if (slot.owns_accumulator) {
      slot.accumulator =
          arena.tensor(p.name + ".gradient", MemoryCategory::kGradients, p.compact_rows(), p.compact_columns(), type);
    } else {
      shared_size = std::max(shared_size, p.compact_rows() * p.compact_columns() * bytes_of(type));
    }
  }
  if (shared_size == 0) return;
  const Tensor shared = arena.tensor("shared gradient", MemoryCategory::kGradients, shared_size, 1, DataType::kUint8);
  for (Slot& slot : slots_) {
    const Parameter& p = *slot.parameter;
    if (!slot.owns_accumulator) {
      slot.accumulator =
          Tensor{shared.data, accumulator_type(slot), p.compact_rows(), p.compact_columns(), p.compact_columns()};
    }
  }
}

void Optimizer::allocate_dense(Arena& arena) {
  if (projected_count_ == 0 || (!refreshes_from_gradients() && !options_.clip_dense)) return;
  int64_t size = 0;
  for (const Slot& slot : slots_) {
    if (slot.projected()) size = std::max(size, slot.parameter->rows() * slot.parameter->columns());
  }
  dense_scratch_ = arena.tensor("dense gradient", MemoryCategory::kGradients, size, 1);
  if (micro_batches_ == 1 || !refreshes_from_gradients()) return;
  // Dense gradients that are accumulated over several micro-batches: as many as matrices are ever due in one step. The
  // first step counts unless rounds find its bases.
  const GaloreOptions& galore = *options_.galore;
  const bool first_in_rounds = galore.refresh == RefreshMethod::kSubspace && !galore.exact_first_basis;
  int held = 0;
  for (int64_t step = first_in_rounds ? 2 : 1; step <= galore.refresh_interval + 1; ++step) {
    int due_now = 0;
    for (size_t i = 0; i < slots_.size(); ++i) due_now += slots_[i].projected() && due(static_cast<int>(i), step);
    held = std::max(held, due_now);
  }
  for (int i = 0; i < held; ++i) {
    dense_held_.push_back(arena.tensor(absl::StrCat("dense gradient ", i), MemoryCategory::kGradients, size, 1));
  }
  dense_lent_to_.assign(held, -1);
}

bool Optimizer::refreshes_from_gradients() const {
  return options_.galore.has_value() && options_.galore->refresh != RefreshMethod::kRandom;
}

bool Optimizer::due(int parameter, int64_t step) const {
  const Slot& slot = slots_[parameter];
  if (!slot.projected() || slot.frozen_basis) return false;
  const GaloreOptions& galore = *options_.galore;
  if (step == 1) return true;
  if (step < slot.pace.not_before) return false;
  const int64_t phase = (step - 1) % galore.refresh_interval;
  if (!galore.stagger) return phase == 0;
  return phase == slot.projected_index * galore.refresh_interval / projected_count_;
}

// Whether this step accumulates the slot's dense gradient over its micro-batches.
bool Optimizer::needs_dense(const Slot& slot) const {
  if (!slot.projected() || slot.found_now || !refreshes_from_gradients()) return false;
  return !slot.has_basis || due(slot.parameter->index, step_);
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
  squares_ = 0;
  not_finite_ = -1;
  report_ = StepReport{};
  report_.learning_rate = options_.learning_rate * schedule_multiplier(options_.schedule, step);
  for (Slot& slot : slots_) {
    slot.found_now = false;
    slot.filled = false;
    slot.skipped = false;
    slot.measured = false;
    if (!slot.projected() || refreshes_from_gradients()) continue;
    if (!slot.has_basis || due(slot.parameter->index, step)) draw_random_basis(slot);
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
  slot.filled = true;
  if (!slot.projected()) {
    matmul(device_, a, Transpose::kYes, b, Transpose::kNo, slot.accumulator, 1.0F, beta);
    return;
  }
  if (needs_dense(slot)) {
    matmul(device_, a, Transpose::kYes, b, Transpose::kNo, dense_memory(slot), 1.0F, beta);
    return;
  }
  if (options_.clip_dense) {
    const Tensor g{dense_scratch_.data, dense_scratch_.type, p.rows(), p.columns(), p.columns()};
    matmul(device_, a, Transpose::kYes, b, Transpose::kNo, g);
    count_squares(slot, sum_of_squares(device_, g));
  }
  accumulate(slot, a, b, beta);
}

// R += aᵀ·(b·P), or (a·U)ᵀ·(b·P) with two sides, without ever forming G.
void Optimizer::accumulate(const Slot& slot, const Tensor& a, const Tensor& b, float beta) {
  const int64_t rank = slot.basis.rank();
  const Workspace memory(device_, b.rows * rank * bytes_of(b.type));
  const Tensor projected = memory.tensor(b.rows, rank, b.type);
  {
    const BasisNumbers basis(device_, slot.basis, b.type);
    matmul(device_, b, Transpose::kNo, basis.tensor(), Transpose::kNo, projected);
  }
  if (!slot.parameter->two_sided) {
    matmul(device_, a, Transpose::kYes, projected, Transpose::kNo, slot.accumulator, 1.0F, beta);
    return;
  }
  const Workspace rows_memory(device_, a.rows * rank * bytes_of(a.type));
  const Tensor rows = rows_memory.tensor(a.rows, rank, a.type);
  {
    const BasisNumbers basis(device_, slot.row_basis, a.type);
    matmul(device_, a, Transpose::kNo, basis.tensor(), Transpose::kNo, rows);
  }
  matmul(device_, rows, Transpose::kYes, projected, Transpose::kNo, slot.accumulator, 1.0F, beta);
}

Tensor Optimizer::dense(int parameter) {
  Slot& slot = slots_[parameter];
  GALLEON_CHECK(!slot.projected()) << slot.parameter->name << " is projected";
  if (!slot.filled) fill(device_, slot.accumulator, 0.0F);
  slot.filled = true;
  return slot.accumulator;
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
    update_one(slot);
  }
}

void Optimizer::count_squares(const Slot& slot, double squares) {
  squares_ += squares;
  if (!std::isfinite(squares)) not_finite_ = std::max(not_finite_, slot.parameter->index);
}

void Optimizer::reduce(Slot& slot) {
  if (slot.replicated) {
    communicator_.all_reduce(slot.accumulator);
  } else {
    communicator_.reduce_scatter_rows(slot.accumulator, slot.shard_unit, options_.wire_type);
  }
  // What every rank holds is counted once.
  if (slot.own.count == 0 || (slot.replicated && communicator_.rank() != 0)) return;
  if (options_.clip_dense && !slot.measured) return;
  const double squares = sum_of_squares(device_, slot.own_rows());
  if (slot.measured) slot.captured = squares;
  if (!options_.clip_dense) count_squares(slot, squares);
}

void Optimizer::update_one(Slot& slot) {
  const int64_t count = slot.moments->sum_count();
  const Workspace memory(device_, count * bytes_of(DataType::kFloat32));
  const Tensor sums = memory.tensor(1, count);
  if (count > 0 && !slot.skipped) {
    const InType r(device_, slot.own_rows(), DataType::kFloat32);
    slot.moments->sum(device_, {slot.count + 1, report_.learning_rate, 1.0}, r.tensor(), sums);
    if (!slot.replicated) communicator_.all_reduce(sums);
  }
  update(slot, 1.0, sums);
}

void Optimizer::update_all(double gradient_scale) {
  // One bundle of partial sums for all matrices; those of replicated ones, which are whole already, lie behind it.
  int64_t bundle = 0;
  int64_t whole = 0;
  for (const Slot& slot : slots_) (slot.replicated ? whole : bundle) += slot.moments->sum_count();
  const Workspace memory(device_, (bundle + whole) * bytes_of(DataType::kFloat32));
  const Tensor all = memory.tensor(1, bundle + whole);
  std::vector<Tensor> sums(slots_.size());
  int64_t next = 0;
  int64_t next_whole = bundle;
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    int64_t& at = slot.replicated ? next_whole : next;
    sums[i] = all.column_range(at, slot.moments->sum_count());
    at += slot.moments->sum_count();
    if (slot.skipped) fill(device_, sums[i], 0.0F);
    if (slot.skipped) continue;
    if (sums[i].size() == 0) continue;
    const InType r(device_, slot.own_rows(), DataType::kFloat32);
    slot.moments->sum(device_, {slot.count + 1, report_.learning_rate, gradient_scale}, r.tensor(), sums[i]);
  }
  if (bundle > 0) communicator_.all_reduce(all.column_range(0, bundle));
  for (size_t i = 0; i < slots_.size(); ++i) update(slots_[i], gradient_scale, sums[i]);
}

void Optimizer::update(Slot& slot, double gradient_scale, const Tensor& sums) {
  if (slot.skipped || !communicator_.status().ok()) return;
  const RuleStep step{++slot.count, report_.learning_rate, gradient_scale};
  // Updates travel in the wire's type, and their owner too applies what the others receive.
  const bool travels = !slot.replicated && communicator_.ranks() > 1;
  const Tensor& r = slot.accumulator;
  const DataType type = travels ? options_.wire_type : r.type;
  const Workspace update_memory(device_, type != r.type ? r.size() * bytes_of(type) : 0);
  const Tensor all = type != r.type ? update_memory.tensor(r.rows, r.columns, type) : r;
  {
    const InType own(device_, slot.own_rows(), DataType::kFloat32);
    slot.moments->update(device_, step, own.tensor(), sums);
    const Tensor place = all.row_range(slot.own.begin, slot.own.count);
    if (place.data != own.tensor().data) convert(device_, own.tensor(), place);
  }
  if (travels) communicator_.all_gather_rows(all, slot.shard_unit);
  if (!communicator_.status().ok()) return;
  const WeightStep weight = slot.moments->weight_step(step);
  const double keep = 1.0 - step.learning_rate * options_.weight_decay;
  const double size = weight.size * (slot.projected() ? options_.galore->scale : 1.0);
  apply(slot, all, weight.decay_first ? size / keep : size, keep);
}

// Of the noise that rounds a parameter's bf16 weight in this step; the same on all ranks.
uint64_t Optimizer::rounding_seed(int parameter) const {
  return (options_.rounding_seed * 0x9E3779B97F4A7C15ULL + static_cast<uint64_t>(step_)) * 0xD1342543DE82EF95ULL +
         static_cast<uint64_t>(parameter);
}

void Optimizer::apply(const Slot& slot, const Tensor& update, double size, double keep) {
  const Parameter& p = *slot.parameter;
  const WeightUpdate how{
      .step = static_cast<float>(size), .keep = static_cast<float>(keep), .noise = rounding_seed(p.index)};
  if (!slot.projected()) {
    apply_dense(device_, p.weight, p.master, update, how);
    return;
  }
  const DataType type = p.weight.type;
  const BasisNumbers basis(device_, slot.basis, type);
  const InType compact(device_, update, type);
  if (!p.two_sided) {
    apply_projected(device_, p.weight, p.master, compact.tensor(), basis.tensor(), how);
    return;
  }
  const BasisNumbers rows(device_, slot.row_basis, type);
  const Workspace memory(device_, p.rows() * p.rank * bytes_of(type));
  const Tensor back = memory.tensor(p.rows(), p.rank, type);
  matmul(device_, rows.tensor(), Transpose::kNo, compact.tensor(), Transpose::kNo, back);
  apply_projected(device_, p.weight, p.master, back, basis.tensor(), how);
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
    const double all = sums[at + 1] + (slot.energy_beyond ? captured : 0.0);
    at += 2;
    if (!(all > 0)) continue;
    report_.energy_sum += captured / all;
    ++report_.energies;
  }
  if (!options_.per_layer) {
    const bool clip = options_.clip_norm > 0 && report_.grad_norm > options_.clip_norm;
    // The small number keeps the field's usual formula (torch.nn.utils.clip_grad_norm_).
    update_all(clip ? options_.clip_norm / (report_.grad_norm + 1e-6) : 1.0);
  }
  return report_;
}

std::vector<StatePiece> Optimizer::state() {
  std::vector<StatePiece> pieces;
  for (Slot& slot : slots_) {
    const Parameter& p = *slot.parameter;
    slot.moments->add_state(pieces);
    if (p.master.data != nullptr) pieces.push_back({p.name + ".master", p.master, 0, p.rows(), true});
    if (!slot.projected()) continue;
    slot.basis.add_state(pieces);
    if (p.two_sided) slot.row_basis.add_state(pieces);
  }
  return pieces;
}

std::vector<int64_t> Optimizer::counts() const {
  std::vector<int64_t> counts;
  counts.reserve(slots_.size());
  for (const Slot& slot : slots_) counts.push_back(slot.count);
  return counts;
}

std::vector<RefreshPace> Optimizer::paces() const {
  std::vector<RefreshPace> paces;
  paces.reserve(slots_.size());
  for (const Slot& slot : slots_) paces.push_back(slot.pace);
  return paces;
}

void Optimizer::resume(const std::vector<int64_t>& counts, const std::vector<RefreshPace>& paces) {
  GALLEON_CHECK_EQ(counts.size(), slots_.size());
  GALLEON_CHECK_EQ(paces.size(), slots_.size());
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].count = counts[i];
    slots_[i].pace = paces[i];
    slots_[i].has_basis = slots_[i].projected();
  }
}

void Optimizer::inject_basis(int parameter, const float* basis, const float* rows) {
  Slot& slot = slots_[parameter];
  const Parameter& p = *slot.parameter;
  GALLEON_CHECK(slot.projected() && p.two_sided == (rows != nullptr)) << p.name;
  auto inject = [&](const Basis& to, const float* numbers) {
    const Workspace memory(device_, to.rows() * to.rank() * bytes_of(DataType::kFloat32));
    const Tensor given = memory.tensor(to.rows(), to.rank());
    device_.upload(given, numbers);
    to.store(device_, given);
  };
  inject(slot.basis, basis);
  if (p.two_sided) inject(slot.row_basis, rows);
  slot.has_basis = true;
  slot.frozen_basis = true;
}

}  // namespace galleon

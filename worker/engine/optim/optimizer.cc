#include "worker/engine/optim/optimizer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/reduction.h"
#include "worker/engine/optim/in_type.h"
#include "worker/engine/optim/row_bands.h"
#include "worker/engine/optim/schedule.h"
#include "worker/engine/optim/slot.h"

namespace galleon {

namespace {

// Bundles that a step's gradients take at least, so that most of them travel beside the backward.
constexpr int64_t kLeastBundles = 8;

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
    GALLEON_CHECK(!p.sharded || slot.replicated || (p.first_row == slot.own.begin && p.shard_rows == slot.own.count))
        << p.name << ": weights and moments are cut at different rows";
    const CompactMatrix matrix{p.name, p.compact_rows(), p.compact_columns(), p.vector, slot.own, slot.replicated};
    slot.moments = allocate_moments(options, matrix, arena);
  }
  allocate_accumulators(arena);
  allocate_flight(arena);
  allocate_dense(arena);
}

void cut_weights(const OptimizerOptions& options, int rank, int ranks, std::vector<Parameter>& parameters) {
  for (Parameter& p : parameters) {
    p.sharded = options.zero >= 3 && ranks > 1 && !p.vector;
    if (!p.sharded) continue;
    p.shard_unit = p.two_sided ? 1 : shard_unit(options, p.compact_rows(), p.compact_columns());
    const RowRange own = rows_of_rank(p.rows(), rank, ranks, p.shard_unit);
    p.first_row = own.begin;
    p.shard_rows = own.count;
  }
}

Optimizer::~Optimizer() = default;

// Only sums of products are kept in bf16: each adds a whole micro-batch at once. Norms and the embedding receive one
// token after another, and a state that every rank holds is small.
DataType Optimizer::accumulator_type(const Slot& slot) const {
  const Parameter& p = *slot.parameter;
  const bool products = !p.vector && p.group != ParameterGroup::kEmbedding && !slot.replicated;
  return products ? options_.accumulate_type : DataType::kFloat32;
}

// Gradients that live until they are reduced and no longer take turns in one piece of memory: with one micro-batch and
// per-layer update all of them; when accumulators are sharded, those of a micro-batch. Norms are too small to matter,
// and an embedding that is the head as well is used at both ends of a pass.
bool Optimizer::staged(const Slot& slot) const {
  const Parameter& p = *slot.parameter;
  if (p.vector) return false;
  if (p.by_rows) return true;
  const bool has_head = std::any_of(parameters_.begin(), parameters_.end(), [&](const Parameter& other) {
    return other.group == ParameterGroup::kHead && other.out == p.out && other.in == p.in;
  });
  if (p.group == ParameterGroup::kEmbedding && !has_head) return false;
  return one_pass_per_layer() || (options_.zero >= 2 && !slot.replicated);
}

// Whether the sum over ranks is kept apart, own rows alone.
bool Optimizer::keeps_own_rows(const Slot& slot) const {
  if (options_.zero < 2 || slot.replicated) return false;
  return staged(slot) ? !one_pass_per_layer() : micro_batches_ > 1;
}

void Optimizer::allocate_accumulators(Arena& arena) {
  int64_t largest = 0;
  int64_t largest_in_block = 0;
  int64_t sum = 0;
  bool any_staged = false;
  for (Slot& slot : slots_) {
    const Parameter& p = *slot.parameter;
    const DataType type = accumulator_type(slot);
    slot.accumulator = Tensor{nullptr, type, p.compact_rows(), p.compact_columns(), p.compact_columns()};
    if (p.by_rows) slot.accumulator = rows_accumulator(slot);
    slot.staged = staged(slot);
    const int64_t bytes = staged_bytes_of(slot);
    sum += bytes;
    any_staged |= slot.staged;
    if (slot.staged) {
      largest = std::max(largest, bytes);
      if (p.block >= 0) largest_in_block = std::max(largest_in_block, bytes);
    } else {
      slot.accumulator =
          arena.tensor(p.name + ".gradient", MemoryCategory::kGradients, p.compact_rows(), p.compact_columns(), type);
    }
    if (keeps_own_rows(slot)) {
      slot.kept = arena.tensor(p.name + (slot.staged ? ".gradient" : ".gradient.own"), MemoryCategory::kGradients,
                               slot.own.count, p.compact_columns(), type);
      slot.keeps = true;
    }
  }
  // A bundle is a small part of all gradients also where these are small: memory is what staging is for.
  bundle_bytes_ = std::min(kBundleBytes, sum / kLeastBundles);
  if (!any_staged) return;
  const int64_t bundle = std::max(largest_in_block, bundle_bytes_);
  // While one bundle is collected another is reduced, and the updates of a third come back.
  const int64_t under_way = communicator_.ranks() == 1 ? 0 : bundle * (one_pass_per_layer() ? 2 : 1);
  const int64_t bytes = std::max(largest, bundle) + under_way;
  stage_ = Stage(arena.tensor("staged gradients", MemoryCategory::kGradients, bytes, 1, DataType::kUint8));
}

// What a reduction needs while it is under way: room for the largest matrix, which travels alone, and for any bundle.
void Optimizer::allocate_flight(Arena& arena) {
  int64_t bytes = 0;
  int64_t bundled = 0;
  for (Slot& slot : slots_) {
    if (slot.replicated) continue;
    Slot* const alone[] = {&slot};
    const int64_t needed = communicator_.reduction_bytes(sharded_gradients(alone), options_.wire_type);
    bytes = std::max(bytes, needed);
    bundled += needed;
  }
  bytes = std::max(bytes, std::min(bundled, 2 * kBundleBytes));
  flight_memory_ = arena.tensor("reduction under way", MemoryCategory::kGradients, bytes, 1, DataType::kUint8);
}

// Gives a staged gradient its place; where the stage is full, what has waited longest leaves it first.
void Optimizer::stage(Slot& slot) {
  while (slot.accumulator.data == nullptr && !place(slot)) {
    if (!settling_.empty()) {
      settle();
    } else if (!in_flight_.empty()) {
      land();
    } else {
      GALLEON_CHECK(!pending_.empty()) << slot.parameter->name << ": a gradient is staged that is not finished";
      flush();
    }
  }
}

bool Optimizer::place(Slot& slot) {
  slot.accumulator.data = stage_.take(staged_bytes_of(slot));
  return slot.accumulator.data != nullptr;
}

void Optimizer::leave_stage(absl::Span<Slot* const> slots) {
  for (Slot* slot : slots) {
    if (!slot->staged || slot->accumulator.data == nullptr) continue;
    stage_.give_back(slot->accumulator.data);
    slot->accumulator.data = nullptr;
  }
}

void Optimizer::allocate_dense(Arena& arena) {
  if (projected_count_ == 0 || (!refreshes_from_gradients() && !options_.clip_dense)) return;
  int64_t size = 0;
  for (const Slot& slot : slots_) {
    if (!slot.projected()) continue;
    const int64_t rows = slot.parameter->rows();
    const int64_t columns = slot.parameter->columns();
    const int64_t formed = refreshes_in_bands() ? RowBands::rows_at_once(rows, columns, options_.piece_bytes) : rows;
    size = std::max(size, formed * columns);
  }
  dense_scratch_ = arena.tensor("dense gradient", MemoryCategory::kGradients, size, 1);
  communicator_.guard(dense_scratch_);
  const GaloreOptions& galore = *options_.galore;
  if (galore.refresh != RefreshMethod::kExact && !galore.exact_first_basis) {
    communicator_.never(Content::kProjectedDense);
  } else if (communicator_.ranks() > 1) {
    collected_dense_ = arena.tensor("collected dense gradient", MemoryCategory::kGradients, size, 1);
    communicator_.guard(collected_dense_);
  }
  if (micro_batches_ == 1 || !refreshes_from_gradients()) return;
  // Dense gradients that are accumulated over several micro-batches: as many as matrices are ever due in one step. The
  // first step counts unless rounds find its bases.
  const bool first_in_rounds = galore.refresh == RefreshMethod::kSubspace && !galore.exact_first_basis;
  int held = 0;
  for (int64_t step = first_in_rounds ? 2 : 1; step <= galore.refresh_interval + 1; ++step) {
    int due_now = 0;
    for (size_t i = 0; i < slots_.size(); ++i) due_now += slots_[i].projected() && due(static_cast<int>(i), step);
    held = std::max(held, due_now);
  }
  for (int i = 0; i < held; ++i) {
    dense_held_.push_back(arena.tensor(absl::StrCat("dense gradient ", i), MemoryCategory::kGradients, size, 1));
    communicator_.guard(dense_held_.back());
  }
  dense_lent_to_.assign(held, -1);
}

bool Optimizer::refreshes_from_gradients() const {
  return options_.galore.has_value() && options_.galore->refresh != RefreshMethod::kRandom;
}

// An exact basis needs all of a gradient, several passes add theirs up, and a dense norm asks for every gradient. With
// per-step update the sums of all parameters are there at once, and a dense gradient is small beside them.
bool Optimizer::refreshes_in_bands() const {
  return one_pass_per_layer() && options_.galore->refresh == RefreshMethod::kSubspace &&
         !options_.galore->exact_first_basis && !options_.clip_dense;
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
  communicator_.set_step(step);
  squares_ = 0;
  not_finite_ = -1;
  report_ = StepReport{};
  report_.learning_rate = options_.learning_rate * schedule_multiplier(options_.schedule, step);
  for (Slot& slot : slots_) {
    slot.found_now = false;
    slot.filled = false;
    slot.reduced = false;
    slot.kept_filled = false;
    slot.skipped = false;
    slot.measured = false;
    slot.exact_owner = -1;
    if (!slot.projected() || refreshes_from_gradients()) continue;
    if (!slot.has_basis || due(slot.parameter->index, step)) draw_random_basis(slot);
  }
}

void Optimizer::begin_micro_batch(int64_t index) {
  flush();
  land();
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
    stage(slot);
    matmul(device_, a, Transpose::kYes, b, Transpose::kNo, slot.accumulator, 1.0F, beta);
    return;
  }
  if (needs_dense(slot) && refreshes_in_bands()) {
    GALLEON_CHECK_EQ(beta, 0.0F);
    stage(slot);
    const int64_t count = RowBands::rows_at_once(p.rows(), p.columns(), options_.piece_bytes);
    RowBands bands(device_, a, b, {dense_scratch_.data, dense_scratch_.type, count, p.columns(), p.columns()});
    project(slot, bands, Tensor{});
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
  stage(slot);
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
  stage(slot);
  if (!slot.filled) fill(device_, slot.accumulator, 0.0F);
  slot.filled = true;
  return slot.accumulator;
}

void Optimizer::finished(int parameter) {
  Slot& slot = slots_[parameter];
  if (round_ >= 0) {
    // What is no product was added up for nothing.
    Slot* const nothing[] = {&slot};
    leave_stage(nothing);
    return;
  }
  if (slot.parameter->by_rows) {
    ++slot.count;
    slot.reduced = true;
    return;
  }
  const bool last = last_pass();
  const bool dense = needs_dense(slot) && !refreshes_in_bands();
  if (!last && (!slot.keeps || dense)) return;
  GALLEON_CHECK(slot.filled) << slot.parameter->name << " got no gradient in step " << step_;
  if (dense) {
    const Tensor g = dense_memory(slot);
    const bool collected = refreshes_exactly(slot) && communicator_.ranks() > 1;
    if (collected) {
      collect_exact(slot, g);
    } else {
      stage(slot);
      RowBands whole(g);
      project(slot, whole, Tensor{});
    }
    if (slot.dense_held >= 0) dense_lent_to_[slot.dense_held] = -1;
    slot.dense_held = -1;
    if (collected) {
      if (static_cast<int>(collected_.size()) == communicator_.ranks()) refresh_collected();
      return;
    }
  }
  enqueue(slot);
}

void Optimizer::enqueue(Slot& slot) {
  if (!options_.per_layer && options_.zero < 2 && communicator_.ranks() == 1) return;
  const int64_t bytes = staged_bytes_of(slot);
  if (pending_bytes_ + bytes > bundle_bytes_) flush();
  pending_.push_back(&slot);
  pending_bytes_ += bytes;
  if (pending_bytes_ >= bundle_bytes_) flush();
}

std::vector<StatePiece> Optimizer::state() {
  std::vector<StatePiece> pieces;
  for (Slot& slot : slots_) {
    const Parameter& p = *slot.parameter;
    slot.moments->add_state(pieces);
    if (p.master.data != nullptr) pieces.push_back({p.name + ".master", p.master, p.first_row, p.rows(), !p.sharded});
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

// The optimizer's part in finding bases: whose turn it is, what the search starts from, and what becomes of the
// moments.
#include <algorithm>
#include <chrono>
#include <utility>

#include "kernels/ops/activation.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/reduction.h"
#include "worker/engine/optim/in_type.h"
#include "worker/engine/optim/optimizer.h"
#include "worker/engine/optim/slot.h"
#include "worker/engine/optim/subspace.h"

namespace galleon {

namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

constexpr int64_t kFloat = bytes_of(DataType::kFloat32);

}  // namespace

// Every refresh draws from a stream of its own.
uint64_t Optimizer::refresh_seed(const Slot& slot) const {
  return options_.galore->seed * 0x9E3779B97F4A7C15ULL + static_cast<uint64_t>(step_) * 1000003ULL +
         slot.projected_index * 64ULL;
}

int Optimizer::owner_of(const Slot& slot) const {
  return slot.exact_owner >= 0 ? slot.exact_owner : slot.projected_index % communicator_.ranks();
}

bool Optimizer::finds_basis_in_rounds(const Slot& slot) const {
  return slot.projected() && !slot.has_basis && micro_batches_ > 1 &&
         options_.galore->refresh == RefreshMethod::kSubspace && !options_.galore->exact_first_basis;
}

int Optimizer::first_basis_rounds() const {
  const bool needed =
      std::any_of(slots_.begin(), slots_.end(), [&](const Slot& slot) { return finds_basis_in_rounds(slot); });
  return needed ? 2 * kFirstIterations : 0;
}

// Whether each rank keeps own rows of G·P alone during the search.
bool Optimizer::shards_range(const Slot& slot) const {
  return slot.keeps && !slot.parameter->two_sided;
}

void Optimizer::begin_round(int round) {
  round_ = round;
  for (Slot& slot : slots_) slot.filled = false;
  if (round > 0) return;
  // The sums need fp32 memory. A basis that is kept in fp32 is that memory, and so is an fp32 accumulator for the range
  // of a matrix with one projected side; for others it is lent until the last round.
  auto lent = [](const Basis& basis) { return basis.plain() ? 0 : (basis.rows() * basis.rank() + 15) / 16 * 16; };
  auto sum_memory = [this](const Slot& slot) { return shards_range(slot) ? slot.kept : slot.accumulator; };
  auto lent_range = [&](const Slot& slot) {
    const Tensor sum = sum_memory(slot);
    const bool in_place = slot.parameter->two_sided || (sum.type == DataType::kFloat32 && sum.data != nullptr);
    return in_place ? 0 : (sum.size() + 15) / 16 * 16;
  };
  int64_t numbers = 0;
  for (const Slot& slot : slots_) {
    if (finds_basis_in_rounds(slot)) numbers += lent(slot.basis) + lent(slot.row_basis) + lent_range(slot);
  }
  round_memory_ = std::make_unique<Workspace>(device_, numbers * kFloat);
  const Tensor all = round_memory_->tensor(numbers, 1);
  int64_t at = 0;
  auto numbers_of = [&](const Basis& basis) {
    if (basis.plain()) return basis.numbers();
    const Tensor piece = all.row_range(at, basis.rows() * basis.rank()).reshape(basis.rows(), basis.rank());
    at += lent(basis);
    return piece;
  };
  for (Slot& slot : slots_) {
    if (!finds_basis_in_rounds(slot)) continue;
    slot.round_basis = numbers_of(slot.basis);
    const Tensor sum = sum_memory(slot);
    slot.round_rows = slot.parameter->two_sided ? numbers_of(slot.row_basis) : sum;
    if (lent_range(slot) > 0) {
      slot.round_rows = all.row_range(at, sum.size()).reshape(sum.rows, sum.columns);
      at += lent_range(slot);
    }
    start_basis(device_, slot.round_basis, refresh_seed(slot));
  }
}

// Even rounds: Y += aᵀ·(b·P). Odd rounds: Z += bᵀ·(a·Y) in the place of the basis, which is not needed any more.
void Optimizer::linear_in_round(Slot& slot, const Tensor& a, const Tensor& b) {
  if (!finds_basis_in_rounds(slot)) return;
  const bool range = round_ % 2 == 0;
  const bool cut = shards_range(slot);
  const Parameter& p = *slot.parameter;
  const Workspace whole_memory(device_, cut ? p.rows() * p.rank * kFloat : 0);
  const Tensor whole = cut ? whole_memory.tensor(p.rows(), p.rank) : slot.round_rows;
  if (cut && !range) gather_range(slot, whole);
  const Tensor& first = range ? b : a;
  const Tensor& second = range ? a : b;
  const Workspace memory(device_, first.rows * p.rank * bytes_of(first.type));
  const Tensor projected = memory.tensor(first.rows, p.rank, first.type);
  {
    const InType known(device_, range ? slot.round_basis : whole, first.type);
    matmul(device_, first, Transpose::kNo, known.tensor(), Transpose::kNo, projected);
  }
  const bool adds = slot.filled && !(cut && range);
  matmul(device_, second, Transpose::kYes, projected, Transpose::kNo, range ? whole : slot.round_basis, 1.0F,
         adds ? 1.0F : 0.0F);
  if (cut && range) {
    communicator_.reduce_scatter_rows({{whole, slot.shard_unit, Content::kSubspace}});
    const Tensor own = whole.row_range(slot.own.begin, slot.own.count);
    if (own.rows > 0 && slot.filled) add(device_, own, slot.round_rows);
    if (own.rows > 0 && !slot.filled) copy(device_, own, slot.round_rows);
  }
  slot.filled = true;
}

// whole ← all rows of a range of which each rank keeps some.
void Optimizer::gather_range(const Slot& slot, const Tensor& whole) {
  if (slot.own.count > 0) copy(device_, slot.round_rows, whole.row_range(slot.own.begin, slot.own.count));
  communicator_.all_gather_rows({{whole, slot.shard_unit, Content::kSubspace}});
}

void Optimizer::finish_ranges(absl::Span<Slot* const> slots) {
  std::vector<Tensor> sums;
  for (const Slot* slot : slots) {
    if (!shards_range(*slot)) sums.push_back(slot->round_rows);
  }
  communicator_.all_reduce(sums, Content::kSubspace);
  for (Slot* slot : slots) {
    const bool cut = shards_range(*slot);
    const Parameter& p = *slot->parameter;
    const Workspace memory(device_, cut ? p.rows() * p.rank * kFloat : 0);
    const Tensor whole = cut ? memory.tensor(p.rows(), p.rank) : slot->round_rows;
    if (cut) gather_range(*slot, whole);
    slot->round_finite = orthonormalize(device_, whole, round_seed(*slot));
    if (!slot->round_finite) start_basis(device_, whole, round_seed(*slot));
    if (cut && slot->own.count > 0) copy(device_, whole.row_range(slot->own.begin, slot->own.count), slot->round_rows);
  }
}

void Optimizer::finish_bases(absl::Span<Slot* const> slots) {
  std::vector<Candidate> candidates;
  for (Slot* slot : slots)
    candidates.push_back({slot->round_basis, owner_of(*slot), round_seed(*slot), &slot->round_finite});
  finish_basis(device_, communicator_, candidates);
}

uint64_t Optimizer::round_seed(const Slot& slot) const {
  return refresh_seed(slot) + 2 * (round_ / 2) + 2;
}

void Optimizer::end_round() {
  const SteadyClock::time_point start = SteadyClock::now();
  const bool last = round_ + 1 == 2 * kFirstIterations;
  std::vector<Slot*> slots;
  for (Slot& slot : slots_) {
    slot.filled = false;
    if (finds_basis_in_rounds(slot)) slots.push_back(&slot);
  }
  for (const std::vector<Slot*>& together : bundles(slots))
    round_ % 2 == 0 ? finish_ranges(together) : finish_bases(together);
  for (Slot* slot : slots) {
    if (!slot->round_finite) start_basis(device_, slot->round_basis, round_seed(*slot));
    if (!last) continue;
    slot->basis.store(device_, slot->round_basis);
    if (slot->parameter->two_sided) {
      // Without a last range there is still something orthonormal to go on with.
      if (!slot->round_finite) start_basis(device_, slot->round_rows, round_seed(*slot));
      slot->row_basis.store(device_, slot->round_rows);
    }
    slot->has_basis = true;
    slot->found_now = true;
    ++(slot->round_finite ? report_.refreshed : report_.skipped_refreshes);
  }
  if (last) round_memory_.reset();
  report_.refresh_seconds += seconds_since(start);
  round_ = -1;
}

void Optimizer::draw_random_basis(Slot& slot) {
  const SteadyClock::time_point start = SteadyClock::now();
  const Parameter& p = *slot.parameter;
  const Workspace basis_memory(device_, p.columns() * p.rank * kFloat);
  const Workspace rows_memory(device_, p.two_sided ? p.rows() * p.rank * kFloat : 0);
  const Tensor basis = basis_memory.tensor(p.columns(), p.rank);
  const Tensor rows = p.two_sided ? rows_memory.tensor(p.rows(), p.rank) : Tensor{};
  // Every rank draws the same numbers, but may orthonormalise them otherwise in the last bit.
  start_basis(device_, basis, refresh_seed(slot));
  communicator_.broadcast(basis, owner_of(slot), Content::kSubspace);
  if (p.two_sided) {
    start_basis(device_, rows, refresh_seed(slot) + 1);
    communicator_.broadcast(rows, owner_of(slot), Content::kSubspace);
  }
  take_basis(slot, basis, rows);
  ++report_.refreshed;
  report_.refresh_seconds += seconds_since(start);
}

bool Optimizer::refresh(Slot& slot, RowBands& g, const Tensor& found) {
  const SteadyClock::time_point start = SteadyClock::now();
  const Parameter& p = *slot.parameter;
  const bool exact = refreshes_exactly(slot);
  // The range of G·P lies where R comes to lie, if that is of its shape and type.
  const bool in_place = !p.two_sided && slot.accumulator.type == DataType::kFloat32;
  const Workspace basis_memory(device_, p.columns() * p.rank * kFloat);
  const Workspace range_memory(device_, p.two_sided || !(exact || in_place) ? p.rows() * p.rank * kFloat : 0);
  const Tensor basis = basis_memory.tensor(p.columns(), p.rank);
  const Tensor range = exact && !p.two_sided ? Tensor{}
                       : in_place            ? slot.accumulator
                                             : range_memory.tensor(p.rows(), p.rank);
  const Tensor rows = p.two_sided ? range : Tensor{};
  const uint64_t seed = refresh_seed(slot);
  const int owner = owner_of(slot);
  if (slot.has_basis) {
    slot.basis.load(device_, basis);
  } else {
    start_basis(device_, basis, seed);
  }
  const bool good = exact            ? share_exact_basis(device_, communicator_, g.whole(), found, basis, rows, owner)
                    : slot.has_basis ? iterate_subspace(device_, communicator_, g, basis, range, owner, seed)
                                     : find_first_basis(device_, communicator_, g, basis, range, owner, seed);
  // Where there is nothing to go on with, what the search began with serves until the next one.
  if (!good && !slot.has_basis) start_basis(device_, basis, seed);
  if (!good && !slot.has_basis && p.two_sided) start_basis(device_, rows, seed + 1);
  if (good || !slot.has_basis) take_basis(slot, basis, rows);
  ++(good ? report_.refreshed : report_.skipped_refreshes);
  report_.refresh_seconds += seconds_since(start);
  return good;
}

// Stores new bases and turns, forgets or keeps the moments, whose coordinates were those of the old ones.
void Optimizer::take_basis(Slot& slot, const Tensor& basis, const Tensor& rows) {
  const bool two_sided = slot.parameter->two_sided;
  const int64_t rank = basis.columns;
  if (slot.has_basis) {
    const Workspace columns_memory(device_, rank * rank * kFloat);
    const Workspace rows_memory(device_, two_sided ? rank * rank * kFloat : 0);
    Rotation rotation{columns_memory.tensor(rank, rank), two_sided ? rows_memory.tensor(rank, rank) : Tensor{}};
    // The share of the new basis that lies in the old one.
    auto turned = [&](const Basis& old, const Tensor& found, const Tensor& cosines) {
      const BasisNumbers numbers(device_, old, DataType::kFloat32);
      matmul(device_, numbers.tensor(), Transpose::kYes, found, Transpose::kNo, cosines);
      return std::min(1.0, sum_of_squares(device_, cosines) / static_cast<double>(rank));
    };
    double overlap = turned(slot.basis, basis, rotation.columns);
    if (two_sided) overlap = 0.5 * (overlap + turned(slot.row_basis, rows, rotation.rows));
    report_.overlap_sum += overlap;
    ++report_.overlaps;
    pace_next(slot, overlap);
    if (options_.galore->moments == MomentsAtRefresh::kRotate) slot.moments->rotate(device_, rotation);
    if (options_.galore->moments == MomentsAtRefresh::kReset) {
      slot.moments->reset(device_);
      slot.count = 0;
    }
  }
  slot.basis.store(device_, basis);
  if (two_sided) slot.row_basis.store(device_, rows);
  slot.has_basis = true;
}

void Optimizer::pace_next(Slot& slot, double overlap) {
  const GaloreOptions& galore = *options_.galore;
  if (!galore.lazy_threshold.has_value()) return;
  // The owner's number decides: ranks must never differ about the next refresh, whatever the last bit of a sum.
  std::vector<double> told{communicator_.rank() == owner_of(slot) ? overlap : 0.0};
  communicator_.all_reduce_host(told);
  slot.pace.refreshed(step_, told[0], *galore.lazy_threshold, galore.refresh_interval);
}

bool Optimizer::refreshes_exactly(const Slot& slot) const {
  return options_.galore->refresh == RefreshMethod::kExact || (!slot.has_basis && options_.galore->exact_first_basis);
}

void Optimizer::collect_exact(Slot& slot, const Tensor& g) {
  const SteadyClock::time_point start = SteadyClock::now();
  slot.exact_owner = static_cast<int>(collected_.size());
  communicator_.reduce(g, slot.exact_owner, Content::kProjectedDense);
  if (communicator_.rank() == slot.exact_owner) {
    collected_dense_ = {collected_dense_.data, g.type, g.rows, g.columns, g.columns};
    copy(device_, g, collected_dense_);
  }
  collected_.push_back(&slot);
  report_.refresh_seconds += seconds_since(start);
}

void Optimizer::refresh_collected() {
  if (collected_.empty()) return;
  const SteadyClock::time_point start = SteadyClock::now();
  const std::vector<Slot*> slots = std::exchange(collected_, {});
  const auto rank = static_cast<size_t>(communicator_.rank());
  const Parameter* own = rank < slots.size() ? slots[rank]->parameter : nullptr;
  const Workspace memory(device_, own != nullptr ? own->columns() * own->rank * kFloat : 0);
  Tensor found;
  if (own != nullptr) {
    found = memory.tensor(own->columns(), own->rank);
    find_exact_basis(device_, collected_dense_, found);
  }
  report_.refresh_seconds += seconds_since(start);
  for (size_t owner = 0; owner < slots.size(); ++owner) {
    stage(*slots[owner]);
    RowBands sum(owner == rank ? collected_dense_ : Tensor{});
    project(*slots[owner], sum, found);
    enqueue(*slots[owner]);
  }
}

void Optimizer::project(Slot& slot, RowBands& g, const Tensor& found) {
  const Parameter& p = *slot.parameter;
  const bool exact = refreshes_exactly(slot);
  const bool alone = exact && communicator_.ranks() == 1;
  const Workspace alone_memory(device_, alone ? p.columns() * p.rank * kFloat : 0);
  Tensor basis_found = found;
  if (alone) {
    const SteadyClock::time_point start = SteadyClock::now();
    basis_found = alone_memory.tensor(p.columns(), p.rank);
    find_exact_basis(device_, g.whole(), basis_found);
    report_.refresh_seconds += seconds_since(start);
  }
  if (!refresh(slot, g, basis_found)) {
    // One bad gradient moves nothing: not the basis, not the moments, not the weight.
    fill(device_, slot.accumulator, 0.0F);
    slot.skipped = true;
    return;
  }
  if (options_.clip_dense) count_squares(slot, sum_of_squares(device_, g.whole()));
  // After an exact refresh the owner's gradient is the sum over ranks, and the others have nothing to add.
  const bool elsewhere = exact && communicator_.rank() != owner_of(slot);
  // ‖G‖² of the mean gradient: where some rank has it whole, exactly, else estimated.
  const bool summed = exact || communicator_.ranks() == 1;
  slot.measured = true;
  slot.captured = 0;
  slot.energy = 0;
  slot.energy_beyond = false;
  if (!summed) estimate(slot, g);
  if (elsewhere) {
    fill(device_, slot.accumulator, 0.0F);
    return;
  }
  const BasisNumbers basis(device_, slot.basis, DataType::kFloat32);
  const bool in_place = !p.two_sided && slot.accumulator.type == DataType::kFloat32;
  const Workspace memory(device_, in_place ? 0 : p.rows() * p.rank * kFloat);
  const Tensor projected = in_place ? slot.accumulator : memory.tensor(p.rows(), p.rank);
  g.visit([&](int64_t first, const Tensor& band) {
    if (summed) slot.energy += sum_of_squares(device_, band);
    matmul(device_, band, Transpose::kNo, basis.tensor(), Transpose::kNo, projected.row_range(first, band.rows));
  });
  if (!p.two_sided) {
    if (!in_place) convert(device_, projected, slot.accumulator);
    return;
  }
  const BasisNumbers rows(device_, slot.row_basis, DataType::kFloat32);
  matmul(device_, rows.tensor(), Transpose::kYes, projected, Transpose::kNo, slot.accumulator);
}

// ‖G‖² of a mean gradient that no rank has whole.
void Optimizer::estimate(Slot& slot, RowBands& g) {
  slot.energy_beyond = !slot.parameter->two_sided;
  const BasisNumbers basis(device_, slot.basis, DataType::kFloat32);
  const double energy =
      estimate_energy(device_, communicator_, g, slot.energy_beyond ? basis.tensor() : Tensor{}, refresh_seed(slot));
  if (communicator_.rank() == 0) slot.energy = energy;
}

}  // namespace galleon

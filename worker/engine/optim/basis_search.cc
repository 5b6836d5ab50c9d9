#include "worker/engine/optim/basis_search.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "kernels/math/mix.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/reduction.h"
#include "worker/engine/optim/subspace_iteration.h"

namespace galleon {

namespace {

constexpr int64_t kFloat = bytes_of(DataType::kFloat32);

}  // namespace

BasisSearch::BasisSearch(const Method& method, std::vector<ProjectedPath*> matrices, Device& device,
                         Communicator& communicator, Arena& arena, Reducer& reducer, GradientNorm& norm,
                         std::function<void(GradientPath&)> complete)
    : method_(method),
      matrices_(std::move(matrices)),
      device_(device),
      communicator_(communicator),
      reducer_(reducer),
      norm_(norm),
      complete_(std::move(complete)),
      clock_(device.make_stopwatch()),
      whole_(method, matrices_, most_due(), arena, communicator),
      measures_(matrices_.size()) {}

// Whole gradients that are added up over several passes at the same time. The first step counts unless rounds find its
// bases.
int BasisSearch::most_due() const {
  if (method_.micro_batches() == 1 || !method_.refreshes_from_gradients()) return 0;
  if (!method_.first_bases_in_rounds()) return static_cast<int>(matrices_.size());
  std::map<int64_t, int> together;
  for (const ProjectedPath* path : matrices_) {
    if (!path->subspace().frozen()) ++together[phase(*path)];
  }
  int most = 0;
  for (const auto& [phase, matrices] : together) most = std::max(most, matrices);
  return most;
}

std::vector<int64_t> BasisSearch::refreshes(int64_t first) const {
  std::set<int64_t> steps;
  for (const ProjectedPath* path : matrices_) {
    const int64_t interval = method_.galore().refresh_interval;
    const int64_t begun = (first - 1) / interval * interval + 1 + phase(*path);  // in the interval that holds `first`
    const int64_t step = begun < first ? begun + interval : begun;
    if (due(*path, step)) steps.insert(step);
  }
  return {steps.begin(), steps.end()};
}

// Steps after an interval's begin.
int64_t BasisSearch::phase(const ProjectedPath& path) const {
  const GaloreOptions& galore = method_.galore();
  return galore.stagger ? path.subspace().index() * galore.refresh_interval / static_cast<int64_t>(matrices_.size())
                        : 0;
}

bool BasisSearch::due(const ProjectedPath& path, int64_t step) const {
  const Subspace& subspace = path.subspace();
  if (subspace.frozen()) return false;
  if (step == 1) return true;
  if (step < subspace.pace().not_before) return false;
  return (step - 1) % method_.galore().refresh_interval == phase(path);
}

// Every refresh draws from a stream of its own.
uint64_t BasisSearch::seed(const ProjectedPath& path) const {
  constexpr uint64_t kStep = 1000003;  // prime
  constexpr uint64_t kMatrix = 64;     // seeds of one search follow one another
  return math::mixed_seed(method_.galore().seed, static_cast<uint64_t>(step_) * kStep +
                                                     static_cast<uint64_t>(path.subspace().index()) * kMatrix);
}

int BasisSearch::owner_of(const ProjectedPath& path) const {
  const int chosen = measure(path).owner;
  return chosen >= 0 ? chosen : path.subspace().index() % communicator_.ranks();
}

void BasisSearch::begin_step(int64_t step) {
  step_ = step;
  report_ = RefreshReport{};
  std::fill(measures_.begin(), measures_.end(), Measure{});
  if (method_.refreshes_from_gradients()) return;
  for (ProjectedPath* path : matrices_) {
    if (!path->subspace().known() || due(*path, step)) draw(*path);
  }
}

void BasisSearch::draw(ProjectedPath& path) {
  const Interval timed(*clock_);
  const BasesMemory drawn(device_, path.parameter(), path.subspace());
  // Every rank draws the same numbers, but may orthonormalise them otherwise in the last bit.
  uint64_t own_seed = seed(path);
  for (const Tensor& basis : drawn.bases().sides()) {
    start_basis(device_, basis, own_seed++);
    communicator_.broadcast(basis, owner_of(path), Content::kSubspace);
  }
  take(path, drawn.bases());
  ++report_.refreshed;
}

int BasisSearch::first_rounds() const {
  if (!method_.first_bases_in_rounds()) return 0;
  const bool missing =
      std::any_of(matrices_.begin(), matrices_.end(), [](const ProjectedPath* p) { return !p->subspace().known(); });
  return missing ? FirstBases::kRounds : 0;
}

void BasisSearch::begin_round(int round) {
  if (round == 0) {
    std::vector<FirstBases::Seat> seats;
    for (ProjectedPath* path : matrices_) {
      if (!path->subspace().known()) seats.push_back({path, seed(*path), owner_of(*path)});
    }
    first_ = std::make_unique<FirstBases>(device_, communicator_, std::move(seats));
  }
  first_->begin_round(round);
}

void BasisSearch::end_round() {
  const Interval timed(*clock_);
  if (!first_->end_round()) return;
  for (ProjectedPath* path : matrices_) measure(*path).found_in_rounds = !path->subspace().known();
  const FirstBases::Outcome outcome = first_->store();
  report_.refreshed += outcome.found;
  report_.skipped_refreshes += outcome.skipped;
  first_.reset();
}

bool BasisSearch::wants(const ProjectedPath& path) const {
  if (measure(path).found_in_rounds || !method_.refreshes_from_gradients()) return false;
  return !path.subspace().known() || due(path, step_);
}

void BasisSearch::add(ProjectedPath& path, const Factors& g) {
  Gradient& gradient = path.gradient();
  const Parameter& p = path.parameter();
  const float beta = std::exchange(gradient.filled, true) ? 1.0F : 0.0F;
  if (!method_.refreshes_in_tiles()) {
    matmul(device_, g.a, Transpose::kYes, g.b, Transpose::kNo, whole_.sum(p), 1.0F, beta);
    return;
  }
  GALLEON_CHECK_EQ(beta, 0.0F);
  reducer_.place(path);
  const int64_t rows = RowTiles::rows_at_once(p.rows(), p.columns(), method_.options().piece_bytes);
  RowTiles tiles(device_, g.a, g.b, whole_.tile(p, rows));
  project(path, tiles, Tensor{});
}

void BasisSearch::search(ProjectedPath& path) {
  const Tensor g = whole_.sum(path.parameter());
  const bool collects = exact(path) && communicator_.ranks() > 1;
  if (collects) {
    collect(path, g);
  } else {
    reducer_.place(path);
    search_alone(path, g);
  }
  whole_.give_back(path.parameter());
  if (!collects) complete_(path);
  if (static_cast<int>(collected_.size()) == communicator_.ranks()) search_collected();
}

// The sum over ranks is in this rank's gradient, or the search itself adds it up.
void BasisSearch::search_alone(ProjectedPath& path, const Tensor& g) {
  RowTiles whole(g);
  if (!exact(path)) {
    project(path, whole, Tensor{});
    return;
  }
  const Parameter& p = path.parameter();
  const Workspace memory(device_, p.columns() * p.rank * kFloat);
  const Tensor found = memory.tensor(p.columns(), p.rank);
  {
    const Interval timed(*clock_);
    find_exact_basis(device_, g, found);
  }
  project(path, whole, found);
}

void BasisSearch::collect(ProjectedPath& path, const Tensor& g) {
  const Interval timed(*clock_);
  const auto owner = static_cast<int>(collected_.size());
  measure(path).owner = owner;
  communicator_.reduce(g, owner, Content::kProjectedDense);
  if (communicator_.rank() == owner) collected_gradient_ = whole_.keep_collected(device_, g);
  collected_.push_back(&path);
}

void BasisSearch::search_collected() {
  if (collected_.empty()) return;
  const std::vector<ProjectedPath*> paths = std::exchange(collected_, {});
  const auto rank = static_cast<size_t>(communicator_.rank());
  const Parameter* own = rank < paths.size() ? &paths[rank]->parameter() : nullptr;
  const Workspace memory(device_, own != nullptr ? own->columns() * own->rank * kFloat : 0);
  Tensor found;
  if (own != nullptr) {
    const Interval timed(*clock_);
    found = memory.tensor(own->columns(), own->rank);
    find_exact_basis(device_, collected_gradient_, found);
  }
  for (size_t owner = 0; owner < paths.size(); ++owner) {
    reducer_.place(*paths[owner]);
    RowTiles sum(owner == rank ? collected_gradient_ : Tensor{});
    project(*paths[owner], sum, found);
    complete_(*paths[owner]);
  }
}

// Finds the basis from this rank's part of the gradient, or takes the exact one that the owner of its sum has `found`,
// and leaves this rank's part of R in the accumulator.
void BasisSearch::project(ProjectedPath& path, RowTiles& g, const Tensor& found) {
  Gradient& gradient = path.gradient();
  const bool is_exact = exact(path);
  if (!refresh(path, g, found)) {
    // One bad gradient moves nothing: not the basis, not the moments, not the weight.
    fill(device_, gradient.accumulator, 0.0F);
    gradient.skipped = true;
    return;
  }
  if (method_.options().clip_dense) norm_.add(path.parameter(), sum_of_squares(device_, g.whole()));
  // ‖G‖² of the mean gradient: where some rank has it whole, exactly, else estimated.
  const bool summed = is_exact || communicator_.ranks() == 1;
  Measure& m = measure(path);
  m.known = true;
  m.beyond = !summed && path.estimates_beyond_basis();
  m.energy = summed ? 0.0 : estimated_energy(path, g);
  m.captured = 0;
  // After an exact search the owner's gradient is the sum over ranks, and the others have nothing to add.
  if (is_exact && communicator_.rank() != owner_of(path)) {
    fill(device_, gradient.accumulator, 0.0F);
    return;
  }
  m.energy += path.project(g, summed);
}

// False: the gradient held a number that is not finite. What the accumulator holds afterwards is of no use.
bool BasisSearch::refresh(ProjectedPath& path, RowTiles& g, const Tensor& found) {
  const Interval timed(*clock_);
  const Parameter& p = path.parameter();
  Subspace& subspace = path.subspace();
  const bool is_exact = exact(path);
  const bool known = subspace.known();
  // The range of G·P is wanted by an iteration, and where it is a basis itself.
  const bool two_sided = subspace.two_sided();
  const bool wants_range = two_sided || !is_exact;
  const bool in_place = path.range_in_accumulator();
  const Workspace basis_memory(device_, p.columns() * p.rank * kFloat);
  const Workspace range_memory(device_, wants_range && !in_place ? p.rows() * p.rank * kFloat : 0);
  const Tensor basis = basis_memory.tensor(p.columns(), p.rank);
  const Tensor range = !wants_range ? Tensor{}
                       : in_place   ? path.gradient().accumulator
                                    : range_memory.tensor(p.rows(), p.rank);
  const FoundBases bases{basis, two_sided ? range : Tensor{}};
  const int owner = owner_of(path);
  if (known) {
    subspace.columns().load(device_, basis);
  } else {
    start_basis(device_, basis, seed(path));
  }
  const bool good = is_exact ? share_exact_basis(device_, communicator_, g.whole(), found, basis, bases.rows, owner)
                    : known  ? iterate_subspace(device_, communicator_, g, basis, range, owner, seed(path))
                             : find_first_basis(device_, communicator_, g, basis, range, owner, seed(path));
  // Where there is nothing to go on with, what the search began with serves until the next one.
  uint64_t start_seed = seed(path);
  for (const Tensor& side : bases.sides()) {
    if (!good && !known) start_basis(device_, side, start_seed++);
  }
  if (good || !known) take(path, bases);
  ++(good ? report_.refreshed : report_.skipped_refreshes);
  return good;
}

// Stores new bases and turns, forgets or keeps the moments, whose coordinates were those of the old ones.
void BasisSearch::take(ProjectedPath& path, const FoundBases& found) {
  Subspace& subspace = path.subspace();
  if (subspace.known()) {
    const RotationMemory turn(device_, subspace);
    const double overlap = subspace.rotation_to(device_, found, turn.rotation());
    report_.overlap_sum += overlap;
    ++report_.overlaps;
    pace_next(path, overlap);
    RuleState& rule = path.rule();
    if (method_.galore().moments == MomentsAtRefresh::kRotate) rule.moments->rotate(device_, turn.rotation());
    if (method_.galore().moments == MomentsAtRefresh::kReset) {
      rule.moments->reset(device_);
      rule.count = 0;
    }
  }
  subspace.store(device_, found);
}

void BasisSearch::pace_next(ProjectedPath& path, double overlap) {
  const GaloreOptions& galore = method_.galore();
  if (!galore.lazy_threshold.has_value()) return;
  // The owner's number decides: ranks must never differ about the next refresh, whatever the last bit of a sum.
  std::vector<double> told{communicator_.rank() == owner_of(path) ? overlap : 0.0};
  communicator_.all_reduce_host(told);
  path.subspace().pace().refreshed(step_, told[0], *galore.lazy_threshold, galore.refresh_interval);
}

// This rank's part of ‖G‖² of a mean gradient that no rank has whole: the first rank tells for all.
double BasisSearch::estimated_energy(const ProjectedPath& path, RowTiles& g) {
  const Subspace& subspace = path.subspace();
  const BasisNumbers basis(device_, subspace.columns(), DataType::kFloat32);
  const double energy =
      estimate_energy(device_, communicator_, g, path.estimates_beyond_basis() ? basis.tensor() : Tensor{}, seed(path));
  return communicator_.rank() == 0 ? energy : 0.0;
}

double BasisSearch::dense_squares(const ProjectedPath& path, const Factors& g) {
  const Tensor whole = whole_.scratch(path.parameter());
  matmul(device_, g.a, Transpose::kYes, g.b, Transpose::kNo, whole);
  return sum_of_squares(device_, whole);
}

bool BasisSearch::measured(GradientPath& path) const {
  return path.projected() != nullptr && measure(*path.projected()).known;
}

void BasisSearch::set_captured(GradientPath& path, double squares) {
  if (measured(path)) measure(*path.projected()).captured = squares;
}

void BasisSearch::add_parts(std::vector<double>& sums) const {
  for (const Measure& m : measures_) {
    if (m.known) sums.insert(sums.end(), {m.captured, m.energy});
  }
}

void BasisSearch::take_sums(absl::Span<const double> sums) {
  size_t at = 0;
  for (const Measure& m : measures_) {
    if (!m.known) continue;
    const double captured = sums[at];
    const double energy = sums[at + 1] + (m.beyond ? captured : 0.0);
    at += 2;
    if (!(energy > 0)) continue;
    report_.energy_sum += captured / energy;
    ++report_.energies;
  }
}

}  // namespace galleon

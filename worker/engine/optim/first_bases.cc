#include "worker/engine/optim/first_bases.h"

#include <algorithm>
#include <utility>

#include "kernels/math/multiples.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "worker/engine/optim/in_type.h"
#include "worker/engine/optim/reducer.h"

namespace galleon {

namespace {

constexpr int64_t kFloat = bytes_of(DataType::kFloat32);

// Pieces of lent memory begin at a cache line.
int64_t aligned(int64_t numbers) {
  return round_up(numbers, 64 / kFloat);
}

// Whether each rank keeps own rows of G·P alone.
bool cut_by_rows(const ProjectedPath& path) {
  return path.gradient().keeps && !path.subspace().two_sided();
}

// Where the range may lie without further memory: with one projected side, in the sum of the gradients, if that is
// fp32.
Tensor sum_memory(const ProjectedPath& path) {
  const Gradient& g = path.gradient();
  return cut_by_rows(path) ? g.kept : g.accumulator;
}

int64_t lent_numbers(const Basis& basis) {
  return basis.plain() ? 0 : aligned(basis.rows() * basis.rank());
}

int64_t lent_range_numbers(const ProjectedPath& path) {
  const Tensor sum = sum_memory(path);
  const bool in_place = path.subspace().two_sided() || (sum.type == DataType::kFloat32 && sum.data != nullptr);
  return in_place ? 0 : aligned(sum.size());
}

}  // namespace

FirstBases::FirstBases(Device& device, Communicator& communicator, std::vector<Seat> seats)
    : device_(device), communicator_(communicator), seats_(std::move(seats)) {
  lend_memory();
  for (Seat& seat : seats_) start_basis(device_, seat.basis, seat.seed);
}

// Sums need fp32 memory. A basis that is kept in fp32 is that memory; for others it is lent until the last round.
void FirstBases::lend_memory() {
  int64_t numbers = 0;
  for (const Seat& seat : seats_) {
    const Subspace& subspace = seat.path->subspace();
    numbers += lent_numbers(subspace.columns()) + lent_numbers(subspace.rows()) + lent_range_numbers(*seat.path);
  }
  lent_ = std::make_unique<Workspace>(device_, numbers * kFloat);
  const Tensor all = lent_->tensor(numbers, 1);
  int64_t at = 0;
  auto take = [&](int64_t rows, int64_t columns) {
    const Tensor piece = all.row_range(at, rows * columns).reshape(rows, columns);
    at += aligned(rows * columns);
    return piece;
  };
  auto numbers_of = [&](const Basis& basis) {
    return basis.plain() ? basis.numbers() : take(basis.rows(), basis.rank());
  };
  for (Seat& seat : seats_) {
    const Subspace& subspace = seat.path->subspace();
    seat.basis = numbers_of(subspace.columns());
    const Tensor sum = sum_memory(*seat.path);
    seat.range = subspace.two_sided()                 ? numbers_of(subspace.rows())
                 : lent_range_numbers(*seat.path) > 0 ? take(sum.rows, sum.columns)
                                                      : sum;
  }
}

uint64_t FirstBases::round_seed(const Seat& seat) const {
  return seat.seed + 2 * (round_ / 2) + 2;
}

void FirstBases::begin_round(int round) {
  round_ = round;
  for (Seat& seat : seats_) seat.filled = false;
}

void FirstBases::add(const ProjectedPath& path, const Factors& g) {
  const auto seat = std::find_if(seats_.begin(), seats_.end(), [&](const Seat& s) { return s.path == &path; });
  if (seat == seats_.end()) return;
  round_ % 2 == 0 ? add_range(*seat, g) : add_basis(*seat, g);
  seat->filled = true;
}

// Y += aᵀ·(b·P).
void FirstBases::add_range(Seat& seat, const Factors& g) {
  const Parameter& p = seat.path->parameter();
  const bool cut = cut_by_rows(*seat.path);
  const Workspace whole_memory(device_, cut ? p.rows() * p.rank * kFloat : 0);
  const Tensor whole = cut ? whole_memory.tensor(p.rows(), p.rank) : seat.range;
  const Workspace memory(device_, g.b.rows * p.rank * bytes_of(g.b.type));
  const Tensor projected = memory.tensor(g.b.rows, p.rank, g.b.type);  // tokens×rank
  {
    const InType basis(device_, seat.basis, g.b.type);
    matmul(device_, g.b, Transpose::kNo, basis.tensor(), Transpose::kNo, projected);
  }
  const bool adds = seat.filled && !cut;
  matmul(device_, g.a, Transpose::kYes, projected, Transpose::kNo, whole, 1.0F, adds ? 1.0F : 0.0F);
  if (!cut) return;
  const Gradient& gradient = seat.path->gradient();
  communicator_.reduce_scatter_rows({{whole, gradient.shard_unit, Content::kSubspace}});
  const Tensor own = whole.row_range(gradient.own.begin, gradient.own.count);
  if (own.rows > 0 && seat.filled) galleon::add(device_, own, seat.range);
  if (own.rows > 0 && !seat.filled) copy(device_, own, seat.range);
}

// Z += bᵀ·(a·Y), in the place of the basis, which is not needed any more.
void FirstBases::add_basis(Seat& seat, const Factors& g) {
  const Parameter& p = seat.path->parameter();
  const bool cut = cut_by_rows(*seat.path);
  const Workspace whole_memory(device_, cut ? p.rows() * p.rank * kFloat : 0);
  const Tensor whole = cut ? whole_memory.tensor(p.rows(), p.rank) : seat.range;
  if (cut) gather_range(seat, whole);
  const Workspace memory(device_, g.a.rows * p.rank * bytes_of(g.a.type));
  const Tensor projected = memory.tensor(g.a.rows, p.rank, g.a.type);  // tokens×rank
  {
    const InType range(device_, whole, g.a.type);
    matmul(device_, g.a, Transpose::kNo, range.tensor(), Transpose::kNo, projected);
  }
  matmul(device_, g.b, Transpose::kYes, projected, Transpose::kNo, seat.basis, 1.0F, seat.filled ? 1.0F : 0.0F);
}

// whole ← all rows of a range of which each rank keeps some.
void FirstBases::gather_range(const Seat& seat, const Tensor& whole) {
  const Gradient& g = seat.path->gradient();
  if (g.own.count > 0) copy(device_, seat.range, whole.row_range(g.own.begin, g.own.count));
  communicator_.all_gather_rows({{whole, g.shard_unit, Content::kSubspace}});
}

bool FirstBases::end_round() {
  std::vector<GradientPath*> paths;
  for (const Seat& seat : seats_) paths.push_back(seat.path);
  auto seat = seats_.begin();
  for (const Reducer::Bucket& bucket : Reducer::buckets(paths)) {
    std::vector<Seat*> together;
    for (size_t i = 0; i < bucket.size(); ++i) together.push_back(&*seat++);
    round_ % 2 == 0 ? finish_ranges(together) : finish_bases(together);
  }
  for (Seat& s : seats_) {
    if (!s.finite) start_basis(device_, s.basis, round_seed(s));
  }
  return round_ + 1 == kRounds;
}

void FirstBases::finish_ranges(absl::Span<Seat* const> seats) {
  std::vector<Tensor> sums;
  for (const Seat* seat : seats) {
    if (!cut_by_rows(*seat->path)) sums.push_back(seat->range);
  }
  communicator_.all_reduce(sums, Content::kSubspace);
  for (Seat* seat : seats) {
    const bool cut = cut_by_rows(*seat->path);
    const Parameter& p = seat->path->parameter();
    const RowRange own = seat->path->gradient().own;
    const Workspace memory(device_, cut ? p.rows() * p.rank * kFloat : 0);
    const Tensor whole = cut ? memory.tensor(p.rows(), p.rank) : seat->range;
    if (cut) gather_range(*seat, whole);
    seat->finite = orthonormalize(device_, whole, round_seed(*seat));
    if (!seat->finite) start_basis(device_, whole, round_seed(*seat));
    if (cut && own.count > 0) copy(device_, whole.row_range(own.begin, own.count), seat->range);
  }
}

void FirstBases::finish_bases(absl::Span<Seat* const> seats) {
  std::vector<Candidate> candidates;
  for (Seat* seat : seats) candidates.push_back({seat->basis, seat->owner, round_seed(*seat), &seat->finite});
  finish_basis(device_, communicator_, candidates);
}

FirstBases::Outcome FirstBases::store() {
  Outcome outcome;
  for (Seat& seat : seats_) {
    Subspace& subspace = seat.path->subspace();
    // Without a last range there is still something orthonormal to go on with.
    if (subspace.two_sided() && !seat.finite) start_basis(device_, seat.range, round_seed(seat));
    subspace.store(device_, {seat.basis, seat.range});
    ++(seat.finite ? outcome.found : outcome.skipped);
  }
  return outcome;
}

}  // namespace galleon

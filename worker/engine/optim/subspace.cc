#include "worker/engine/optim/subspace.h"

#include <algorithm>

#include "kernels/ops/linear.h"
#include "kernels/ops/reduction.h"

namespace galleon {

namespace {

// cosines ← oldᵀ·found.
double overlap_of(Device& device, const Basis& old, const Tensor& found, const Tensor& cosines) {
  const BasisNumbers numbers(device, old, DataType::kFloat32);
  matmul(device, numbers.tensor(), Transpose::kYes, found, Transpose::kNo, cosines);
  return std::min(1.0, sum_of_squares(device, cosines) / static_cast<double>(found.columns));
}

void inject_into(Device& device, const Basis& basis, const float* numbers) {
  const Workspace memory(device, basis.rows() * basis.rank() * bytes_of(DataType::kFloat32));
  const Tensor given = memory.tensor(basis.rows(), basis.rank());
  device.upload(given, numbers);
  basis.store(device, given);
}

constexpr int64_t kFloat = bytes_of(DataType::kFloat32);

}  // namespace

std::vector<Tensor> FoundBases::sides() const {
  return rows.data == nullptr ? std::vector<Tensor>{columns} : std::vector<Tensor>{columns, rows};
}

BasesMemory::BasesMemory(Device& device, const Parameter& p, const Subspace& subspace)
    : columns_(device, p.columns() * p.rank * kFloat),
      rows_(device, subspace.two_sided() ? p.rows() * p.rank * kFloat : 0) {
  bases_.columns = columns_.tensor(p.columns(), p.rank);
  if (subspace.two_sided()) bases_.rows = rows_.tensor(p.rows(), p.rank);
}

RotationMemory::RotationMemory(Device& device, const Subspace& subspace)
    : columns_(device, subspace.columns().rank() * subspace.columns().rank() * kFloat),
      rows_(device, subspace.rows().rank() * subspace.rows().rank() * kFloat) {
  rotation_.columns = columns_.tensor(subspace.columns().rank(), subspace.columns().rank());
  if (subspace.two_sided()) rotation_.rows = rows_.tensor(subspace.rows().rank(), subspace.rows().rank());
}

Subspace::Subspace(const Parameter& p, const GaloreOptions& galore, int index, Arena& arena)
    : index_(index), columns_(p.name + ".basis", p.columns(), p.rank, galore.basis_type, arena) {
  if (p.two_sided) rows_ = Basis(p.name + ".row_basis", p.rows(), p.rank, galore.basis_type, arena);
  pace_.interval = galore.refresh_interval;
}

void Subspace::store(Device& device, const FoundBases& found) {
  columns_.store(device, found.columns);
  if (two_sided()) rows_.store(device, found.rows);
  known_ = true;
}

double Subspace::rotation_to(Device& device, const FoundBases& found, const Rotation& rotation) const {
  const double overlap = overlap_of(device, columns_, found.columns, rotation.columns);
  return two_sided() ? 0.5 * (overlap + overlap_of(device, rows_, found.rows, rotation.rows)) : overlap;
}

void Subspace::inject(Device& device, const float* columns, const float* rows) {
  GALLEON_CHECK(two_sided() == (rows != nullptr)) << "bases of one side too many or too few";
  inject_into(device, columns_, columns);
  if (rows != nullptr) inject_into(device, rows_, rows);
  known_ = frozen_ = true;
}

void Subspace::resume(const RefreshPace& pace) {
  pace_ = pace;
  known_ = true;
}

void Subspace::add_state(std::vector<StatePiece>& pieces) const {
  columns_.add_state(pieces);
  if (two_sided()) rows_.add_state(pieces);
}

}  // namespace galleon

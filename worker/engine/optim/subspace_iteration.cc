#include "worker/engine/optim/subspace_iteration.h"

#include "kernels/ops/activation.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/random.h"
#include "kernels/ops/reduction.h"

namespace galleon {

void finish_basis(Device& device, Communicator& communicator, absl::Span<const Candidate> candidates) {
  std::vector<Tensor> sums;
  for (const Candidate& candidate : candidates) sums.push_back(candidate.z);
  communicator.all_reduce(sums, Content::kSubspace);
  std::vector<Rooted> found;
  for (const Candidate& candidate : candidates) {
    // The sum is the same on all ranks, so all of them come to the same verdict.
    *candidate.finite = all_finite(device, candidate.z);
    if (!*candidate.finite) continue;
    if (communicator.rank() == candidate.owner || !device.executes())
      orthonormalize(device, candidate.z, candidate.seed + 1);
    found.push_back({candidate.z, candidate.owner});
  }
  communicator.broadcast(found, Content::kSubspace);
}

bool iterate_subspace(Device& device, Communicator& communicator, RowTiles& g, const Tensor& basis, const Tensor& range,
                      int owner, uint64_t seed) {
  if (g.partial()) fill(device, range, 0.0F);
  g.visit([&](int64_t first, const Tensor& tile) {
    matmul(device, tile, Transpose::kNo, basis, Transpose::kNo, range.row_range(first, tile.rows));
  });
  communicator.all_reduce(range, Content::kSubspace);
  if (!orthonormalize(device, range, seed)) return false;
  if (g.partial()) fill(device, basis, 0.0F);
  g.visit([&](int64_t first, const Tensor& tile) {
    matmul(device, tile, Transpose::kYes, range.row_range(first, tile.rows), Transpose::kNo, basis, 1.0F,
           first > 0 ? 1.0F : 0.0F);
  });
  bool finite = true;
  const Candidate candidate{basis, owner, seed, &finite};
  finish_basis(device, communicator, absl::MakeConstSpan(&candidate, 1));
  return finite;
}

void start_basis(Device& device, const Tensor& basis, uint64_t seed) {
  fill_normal(device, basis, seed, 0, 0, 0.0F, 1.0F);
  orthonormalize(device, basis, seed);
}

bool find_first_basis(Device& device, Communicator& communicator, RowTiles& g, const Tensor& basis, const Tensor& range,
                      int owner, uint64_t seed) {
  for (int i = 0; i < kFirstIterations; ++i) {
    if (!iterate_subspace(device, communicator, g, basis, range, owner, seed + 2 * i + 2)) return false;
  }
  return true;
}

void find_exact_basis(Device& device, const Tensor& g, const Tensor& found) {
  // The verdict travels with the basis: the owner alone sees the sum, and a basis of NaN says that there is none.
  fill(device, found, __builtin_nanf(""));
  const Workspace scratch(device, g.bytes());
  const Tensor destroyed = scratch.tensor(g.rows, g.columns);
  copy(device, g, destroyed);
  right_singular_vectors(device, destroyed, found);
}

bool share_exact_basis(Device& device, Communicator& communicator, const Tensor& g, const Tensor& found,
                       const Tensor& basis, const Tensor& rows, int owner) {
  // A basis that serves until now is kept where there is no new one.
  const Workspace new_memory(device, basis.bytes());
  const Tensor arrived = new_memory.tensor(basis.rows, basis.columns);
  const bool own = communicator.rank() == owner;
  if (own) copy(device, found, arrived);
  communicator.broadcast(arrived, owner, Content::kSubspace);
  if (!all_finite(device, arrived)) return false;
  copy(device, arrived, basis);
  if (rows.data == nullptr) return true;
  // G·V = U·Σ, whose columns are orthogonal already.
  if (own) {
    matmul(device, g, Transpose::kNo, basis, Transpose::kNo, rows);
    orthonormalize(device, rows, 1);
  }
  communicator.broadcast(rows, owner, Content::kSubspace);
  return true;
}

double estimate_energy(Device& device, Communicator& communicator, RowTiles& g, const Tensor& basis, uint64_t seed) {
  const Workspace probe_memory(device, g.columns() * kEnergyProbes * 4);
  const Tensor probes = probe_memory.tensor(g.columns(), kEnergyProbes);
  fill_normal(device, probes, seed, 1, 0, 0.0F, 1.0F);
  if (basis.data != nullptr) {
    const Workspace inside_memory(device, basis.columns * kEnergyProbes * 4);
    const Tensor inside = inside_memory.tensor(basis.columns, kEnergyProbes);
    matmul(device, basis, Transpose::kYes, probes, Transpose::kNo, inside);
    matmul(device, basis, Transpose::kNo, inside, Transpose::kNo, probes, -1.0F, 1.0F);
  }
  const Workspace image_memory(device, g.rows() * kEnergyProbes * 4);
  const Tensor image = image_memory.tensor(g.rows(), kEnergyProbes);
  g.visit([&](int64_t first, const Tensor& tile) {
    matmul(device, tile, Transpose::kNo, probes, Transpose::kNo, image.row_range(first, tile.rows));
  });
  communicator.all_reduce(image, Content::kStatistic);
  return sum_of_squares(device, image) / static_cast<double>(kEnergyProbes);
}

}  // namespace galleon

#include "worker/engine/optim/subspace.h"

#include "kernels/ops/activation.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/random.h"
#include "kernels/ops/reduction.h"

namespace galleon {

bool finish_range(Device& device, Communicator& communicator, const Tensor& y, uint64_t seed) {
  communicator.all_reduce(y);
  return orthonormalize(device, y, seed);
}

bool finish_basis(Device& device, Communicator& communicator, const Tensor& z, int owner, uint64_t seed) {
  communicator.all_reduce(z);
  // The sum is the same on all ranks, so all of them come to the same verdict.
  if (!all_finite(device, z)) return false;
  if (communicator.rank() == owner || !device.executes()) orthonormalize(device, z, seed + 1);
  communicator.broadcast(z, owner);
  return true;
}

RefreshResult iterate_subspace(Device& device, Communicator& communicator, const Tensor& g, const Tensor& basis,
                               int owner, uint64_t seed) {
  const int64_t r = basis.columns;
  const Workspace y_memory(device, g.rows * r * 4);
  const Workspace z_memory(device, g.columns * r * 4);
  const Tensor y = y_memory.tensor(g.rows, r);
  const Tensor z = z_memory.tensor(g.columns, r);
  matmul(device, g, Transpose::kNo, basis, Transpose::kNo, y);
  if (!finish_range(device, communicator, y, seed)) return {};
  matmul(device, g, Transpose::kYes, y, Transpose::kNo, z);
  if (!finish_basis(device, communicator, z, owner, seed)) return {};
  const double turned = overlap(device, basis, z);
  copy(device, z, basis);
  return {true, turned};
}

void start_basis(Device& device, const Tensor& basis, uint64_t seed) {
  fill_normal(device, basis, seed, 0, 0, 0.0F, 1.0F);
  orthonormalize(device, basis, seed);
}

RefreshResult find_first_basis(Device& device, Communicator& communicator, const Tensor& g, const Tensor& basis,
                               int owner, uint64_t seed) {
  start_basis(device, basis, seed);
  RefreshResult result;
  for (int i = 0; i < kFirstIterations; ++i) {
    result = iterate_subspace(device, communicator, g, basis, owner, seed + 2 * i + 2);
    if (!result.changed) break;
  }
  return result;
}

RefreshResult exact_basis(Device& device, Communicator& communicator, const Tensor& g, const Tensor& basis, int owner) {
  communicator.reduce(g, owner);
  const Workspace new_memory(device, basis.bytes());
  const Tensor found = new_memory.tensor(basis.rows, basis.columns);
  // The verdict travels with the basis: the owner alone sees the sum, and a basis of NaN says that there is none.
  fill(device, found, __builtin_nanf(""));
  if (communicator.rank() == owner || !device.executes()) {
    const Workspace scratch(device, g.bytes());
    const Tensor destroyed = scratch.tensor(g.rows, g.columns);
    copy(device, g, destroyed);
    right_singular_vectors(device, destroyed, found);
  }
  communicator.broadcast(found, owner);
  if (!all_finite(device, found)) return {};
  const double turned = overlap(device, basis, found);
  copy(device, found, basis);
  return {true, turned};
}

}  // namespace galleon

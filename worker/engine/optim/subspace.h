// How bases are found: P (columns×r, orthonormal) such that G·P keeps most of the mean gradient G. Every function is a
// collective: all ranks call it with their local part of the gradient sum, and all end with the same basis.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "worker/engine/dist/communicator.h"

namespace galleon {

struct RefreshResult {
  bool changed = false;  // false: the gradient held a number that is not finite, and the basis stays
  double overlap = 0;    // of the old and the new basis; 1: the same subspace
};

// One warm subspace iteration: Y = orth(ΣG·P), Z = ΣGᵀ·Y, P ← orth(Z) by `owner`, broadcast. Only rank-r matrices are
// sent. Orthonormalising Y before GᵀY keeps steep spectra stable (GALORE.md, section 4). g: rows×columns, local part;
// basis: columns×r.
RefreshResult iterate_subspace(Device& device, Communicator& communicator, const Tensor& g, const Tensor& basis,
                               int owner, uint64_t seed);

// The first basis is found by kFirstIterations subspace iterations from seeded normal columns. Their number is fixed,
// so that the same mean gradient gives the same basis however it is cut into passes and ranks.
inline constexpr int kFirstIterations = 8;
void start_basis(Device& device, const Tensor& basis, uint64_t seed);
RefreshResult find_first_basis(Device& device, Communicator& communicator, const Tensor& g, const Tensor& basis,
                               int owner, uint64_t seed);

// The two halves of an iteration, for gradients that are only ever seen as factors: y holds this rank's part of G·P, z
// of Gᵀ·Y. Afterwards they are the orthonormal bases on all ranks. False: a number was not finite, and the argument is
// unchanged but for the sum.
bool finish_range(Device& device, Communicator& communicator, const Tensor& y, uint64_t seed);
bool finish_basis(Device& device, Communicator& communicator, const Tensor& z, int owner, uint64_t seed);

// The leading right singular vectors of the summed dense gradient, which is reduced to `owner` alone; g of the owner
// becomes the sum, which is what its part of ΣG·P then comes from (the other ranks add nothing).
RefreshResult exact_basis(Device& device, Communicator& communicator, const Tensor& g, const Tensor& basis, int owner);

}  // namespace galleon

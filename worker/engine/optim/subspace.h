// How bases are found: P (columns×r, orthonormal) such that G·P keeps most of the mean gradient G. Every function is a collective:
// all ranks call it with their local part of the gradient sum, and all end with the same basis.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "worker/engine/dist/communicator.h"

namespace galleon {

struct RefreshResult {
  bool changed = false;  // false: the gradient held a number that is not finite, and the basis stays
  double overlap = 0;    // of the old and the new basis; 1: the same subspace
};

// One warm subspace iteration: Y = orth(ΣG·P), Z = ΣGᵀ·Y, P ← orth(Z) by `owner`, broadcast. Only rank-r matrices are sent.
// Orthonormalising Y before GᵀY keeps steep spectra stable (GALORE.md, section 4). g: rows×columns, local part; basis: columns×r.
RefreshResult iterate_subspace(Device& device, Communicator& communicator, const Tensor& g, const Tensor& basis, int owner, uint64_t seed);

// The first basis: from seeded normal columns, iterated until two successive bases span nearly the same space (at most 12 times). If
// the gradient is not finite the basis is seeded orthonormal columns.
RefreshResult find_first_basis(Device& device, Communicator& communicator, const Tensor& g, const Tensor& basis, int owner, uint64_t seed);

// The leading right singular vectors of the summed dense gradient, which is reduced to `owner` alone; g of the owner becomes the
// sum, which is what its part of ΣG·P then comes from (the other ranks add nothing).
RefreshResult exact_basis(Device& device, Communicator& communicator, const Tensor& g, const Tensor& basis, int owner);

}  // namespace galleon

// How bases are found: P (columns×r, orthonormal) such that G·P keeps most of the mean gradient G, and with it, where
// it is asked for, an orthonormal basis of the range of G·P (rows×r). Every function is a collective: all ranks call it
// with their local part of the gradient sum, and all end with the same bases. All numbers are fp32. A gradient that is
// nowhere whole is gone over in tiles of its rows.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/device.h"
#include "worker/engine/optim/row_tiles.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// One warm subspace iteration: Y = orth(ΣG·P), Z = ΣGᵀ·Y, P ← orth(Z) by `owner`, broadcast. Only rank-r matrices are
// sent. Orthonormalising Y before GᵀY keeps steep spectra stable (docs/design/galore.md, section 4). g: rows×columns,
// local part; basis: columns×r; range: rows×r ← Y. False: the gradient held a number that is not finite, and neither is
// of any use.
bool iterate_subspace(Device& device, Communicator& communicator, RowTiles& g, const Tensor& basis, const Tensor& range,
                      int owner, uint64_t seed);

// The first basis is found by kFirstIterations subspace iterations from seeded normal columns. Their number is fixed,
// so that the same mean gradient gives the same basis however it is cut into passes and ranks.
inline constexpr int kFirstIterations = 8;
void start_basis(Device& device, const Tensor& basis, uint64_t seed);
bool find_first_basis(Device& device, Communicator& communicator, RowTiles& g, const Tensor& basis, const Tensor& range,
                      int owner, uint64_t seed);

// The second half of an iteration for gradients that are only ever seen as factors, of several matrices together: z
// holds this rank's part of Gᵀ·Y, and afterwards the orthonormal basis on all ranks, unless a number of it was not
// finite.
struct Candidate {
  Tensor z;
  int owner = 0;
  uint64_t seed = 0;
  bool* finite = nullptr;
};
void finish_basis(Device& device, Communicator& communicator, absl::Span<const Candidate> candidates);

// An exact basis in two parts, so that ranks can each search one at the same time. First, by the owner alone: the
// leading right singular vectors of `g`, the summed dense gradient, into `found`; NaN if there are none.
void find_exact_basis(Device& device, const Tensor& g, const Tensor& found);
// Then, a collective: `found` of the owner (nothing on others) becomes `basis` of all, and for `rows` the left singular
// vectors, which the owner takes from `g`, theirs. False as above.
bool share_exact_basis(Device& device, Communicator& communicator, const Tensor& g, const Tensor& found,
                       const Tensor& basis, const Tensor& rows, int owner);

// ‖ΣG − ΣG·P·Pᵀ‖², what P does not keep, or ‖ΣG‖² without a basis (empty): the mean over kEnergyProbes seeded normal
// vectors z of ‖ΣG·z‖² (Hutchinson 1990), because ΣG itself is nowhere whole. Its relative deviation is about
// √(2 / (kEnergyProbes · the number of singular values that matter)).
inline constexpr int64_t kEnergyProbes = 16;
double estimate_energy(Device& device, Communicator& communicator, RowTiles& g, const Tensor& basis, uint64_t seed);

}  // namespace galleon

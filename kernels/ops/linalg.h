// Orthogonal bases: singular vectors and orthonormalisation. Workspaces depend on shapes alone.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace galleon {

// basis ← the first r right singular vectors of g as columns. g: rows×columns, destroyed; basis: columns×r, r ≤
// min(rows, columns). Returns false, leaving basis as it was, if g holds a number that is not finite or the solver does
// not converge (LAPACK's info).
bool right_singular_vectors(Device& device, const Tensor& g, const Tensor& basis);

// y ← Q of y = Q·R with the sign that makes R's diagonal positive: an orthonormal basis of the span of its columns, so
// that a small change of y is a small change of the result. Columns that depend on earlier ones (|R_jj| ≤ 1e-5 ·
// largest column norm) are replaced by seeded normal numbers, orthonormalised against the others. y: rows×r, r ≤ rows.
// Returns false, leaving y as it was, if y holds a number that is not finite.
bool orthonormalize(Device& device, const Tensor& y, uint64_t seed);

// ‖aᵀb‖²_F / r of two orthonormal columns×r bases: 1 when they span the same space. 0 on a device that does not
// execute.
double overlap(Device& device, const Tensor& a, const Tensor& b);

}  // namespace galleon

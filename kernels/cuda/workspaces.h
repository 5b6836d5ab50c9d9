// Sizes of scratch memory of the CUDA device's operations, in bytes, by shapes alone: what its launchers take and what
// the planner counts on machines without a GPU. Plain host code.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/math/multiples.h"

namespace galleon::cuda {

inline constexpr int64_t kWorkspaceAlignment = 256;
inline constexpr int64_t aligned_bytes(int64_t bytes) {
  return round_up(bytes, kWorkspaceAlignment);
}
// Scratch memory begins at a multiple of 64; libraries are given multiples of 256 out of it, for which each size here
// has room.
inline void* aligned_scratch(void* scratch) {
  const auto address = reinterpret_cast<uintptr_t>(scratch);
  return static_cast<char*>(scratch) + (kWorkspaceAlignment - address % kWorkspaceAlignment) % kWorkspaceAlignment;
}

inline constexpr int64_t kMebibyte = int64_t{1} << 20;

// An update of 4096 columns has 2048 rows then, of which products make 512 tiles of 128×128 for a hundred and some
// multiprocessors.
inline constexpr int64_t kPanelBytes = 32 * kMebibyte;

// Products. Algorithms that cut the inner dimension keep partial sums of the result there; 32 MiB is what cuBLASLt's
// documentation recommends for Hopper.
inline int64_t product_bytes(int64_t m, int64_t n) {
  constexpr int64_t kPieces = 16;
  return std::clamp(aligned_bytes(m * n * kPieces * 4), 4 * kMebibyte, 32 * kMebibyte);
}
inline int64_t product_workspace(int64_t m, int64_t n) {
  return product_bytes(m, n) + kWorkspaceAlignment;
}

// Decompositions work in double precision on panels of this many rows (or columns).
inline constexpr int64_t kPanel = 1024;

inline int64_t panel_bytes(int64_t length, int64_t width) {
  return aligned_bytes(std::min(length, kPanel) * width * 8);
}
inline int64_t square_bytes(int64_t order) {
  return aligned_bytes(order * order * 8);
}

// What cuSOLVER is given, as it has no formula without a GPU: Cholesky's factor of order n needs little beside the
// matrix, the eigenvectors of one two matrices of its size. The device asks the library and says so where it wants
// more.
inline int64_t cholesky_solver_bytes(int64_t n) {
  return aligned_bytes(n * 256 * 8) + 4 * kMebibyte;
}
inline int64_t eigen_solver_bytes(int64_t n) {
  return 3 * square_bytes(n) + aligned_bytes(n * 512 * 8) + 4 * kMebibyte;
}

struct OrthonormalizeSpace {
  OrthonormalizeSpace(int64_t rows, int64_t rank)
      : panel(panel_bytes(rows, rank)), gram(square_bytes(rank)), solver(cholesky_solver_bytes(rank)) {}
  int64_t panel;
  int64_t gram;
  int64_t solver;
  int64_t total() const { return panel + gram + solver + kWorkspaceAlignment; }
};

inline int64_t orthonormalize_workspace(int64_t rows, int64_t rank) {
  return OrthonormalizeSpace(rows, rank).total();
}

struct SingularVectorsSpace {
  SingularVectorsSpace(int64_t rows, int64_t columns, int64_t rank)
      : order(std::min(rows, columns)),
        panel(panel_bytes(std::max(rows, columns), order)),
        gram(square_bytes(order)),
        values(aligned_bytes(order * 8)),
        solver(eigen_solver_bytes(order)),
        vectors(columns > rows ? panel_bytes(columns, rank) : 0),
        // Once the vectors are there, the rest is free for orthonormalising them.
        orthonormalize(columns > rows ? orthonormalize_workspace(columns, rank) : 0) {}
  int64_t order;
  int64_t panel;
  int64_t gram;
  int64_t values;
  int64_t solver;
  int64_t vectors;
  int64_t orthonormalize;
  int64_t total() const {
    return std::max(panel + gram + values + solver + vectors + kWorkspaceAlignment, orthonormalize);
  }
};

inline int64_t singular_vectors_workspace(int64_t rows, int64_t columns, int64_t rank) {
  return SingularVectorsSpace(rows, columns, rank).total();
}

}  // namespace galleon::cuda

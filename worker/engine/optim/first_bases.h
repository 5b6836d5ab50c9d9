// First bases from rounds over all micro-batches of the first step, for gradients that arrive in several pieces: a
// whole gradient for every matrix at once would not fit, but a subspace iteration needs only Y = G·P and Z = Gᵀ·Y,
// which factors give. Even rounds add up Y, odd ones Z in the place of the basis.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "kernels/device.h"
#include "worker/engine/optim/gradient_path.h"
#include "worker/engine/optim/subspace_iteration.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

class FirstBases {
 public:
  static constexpr int kRounds = 2 * kFirstIterations;

  // One matrix in the search.
  struct Seat {
    ProjectedPath* path = nullptr;
    uint64_t seed = 0;  // of this step's search
    int owner = 0;      // the rank that orthonormalises
    // fp32 numbers of the basis (columns×rank), and of the range of G·P (rows×rank, or own rows of it).
    Tensor basis, range;
    bool filled = false;  // this round's sums hold the first contributions
    bool finite = true;
  };

  FirstBases(Device& device, Communicator& communicator, std::vector<Seat> seats);

  // 0, 1, …
  void begin_round(int round);
  void add(const ProjectedPath& path, const Factors& g);
  // True: it was the last one.
  bool end_round();
  // Then: stores the bases. Returns how many gradients were finite and how many were not.
  struct Outcome {
    int found = 0;
    int skipped = 0;
  };
  Outcome store();

 private:
  void lend_memory();
  void add_range(Seat& seat, const Factors& g);
  void add_basis(Seat& seat, const Factors& g);
  void gather_range(const Seat& seat, const Tensor& whole);
  void finish_ranges(absl::Span<Seat* const> seats);
  void finish_bases(absl::Span<Seat* const> seats);
  uint64_t round_seed(const Seat& seat) const;

  Device& device_;
  Communicator& communicator_;
  std::vector<Seat> seats_;
  std::unique_ptr<Workspace> lent_;  // for bases and ranges that are kept in another type
  int round_ = 0;
};

}  // namespace galleon

// The subspace that a matrix's gradient is projected to: the basis of its columns and, with two projected sides, that
// of its rows, and when they are next searched.
#pragma once

#include <vector>

#include "kernels/device.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/optim/basis.h"
#include "worker/engine/optim/moments.h"
#include "worker/engine/optim/refresh_pace.h"

namespace galleon {

// New bases, fp32: columns×rank and, with two sides, rows×rank.
struct FoundBases {
  Tensor columns;
  Tensor rows;

  // Those that there are.
  std::vector<Tensor> sides() const;
};

class Subspace {
 public:
  // index: among projected matrices.
  Subspace(const Parameter& p, const GaloreOptions& galore, int index, Arena& arena);

  bool two_sided() const { return rows_.rank() > 0; }
  int index() const { return index_; }
  const Basis& columns() const { return columns_; }
  const Basis& rows() const { return rows_; }
  // Whether there is something to project with.
  bool known() const { return known_; }
  // Injected for good.
  bool frozen() const { return frozen_; }
  RefreshPace& pace() { return pace_; }
  const RefreshPace& pace() const { return pace_; }

  void store(Device& device, const FoundBases& found);
  // From the coordinates of these bases to those of new ones, into `rotation`. Returns the share of the new bases that
  // lies in these, ‖P_oldᵀ·P_new‖²/rank, of two sides the mean.
  double rotation_to(Device& device, const FoundBases& found, const Rotation& rotation) const;

  // columns×rank and rows×rank numbers that are never refreshed.
  void inject(Device& device, const float* columns, const float* rows);
  void resume(const RefreshPace& pace);
  void add_state(std::vector<StatePiece>& pieces) const;

 private:
  int index_;
  Basis columns_;
  Basis rows_;
  RefreshPace pace_;
  bool known_ = false;
  bool frozen_ = false;
};

// Workspace for one matrix's new bases.
class BasesMemory {
 public:
  BasesMemory(Device& device, const Parameter& p, const Subspace& subspace);
  const FoundBases& bases() const { return bases_; }

 private:
  Workspace columns_, rows_;
  FoundBases bases_;
};

// And for the turn from its old ones to these: rank×rank for each side.
class RotationMemory {
 public:
  RotationMemory(Device& device, const Subspace& subspace);
  const Rotation& rotation() const { return rotation_; }

 private:
  Workspace columns_, rows_;
  Rotation rotation_;
};

}  // namespace galleon

// What the optimizer holds for one parameter.
#pragma once

#include <cstdint>
#include <memory>

#include "worker/engine/model/parameters.h"
#include "worker/engine/optim/basis.h"
#include "worker/engine/optim/moments.h"
#include "worker/engine/optim/optimizer.h"
#include "worker/engine/optim/refresh_pace.h"

namespace galleon {

struct Optimizer::Slot {
  Parameter* parameter = nullptr;
  int projected_index = -1;  // among projected matrices, -1: full rank
  bool replicated = false;   // every rank owns all rows
  int64_t shard_unit = 1;    // of the cut by rows
  RowRange own;
  Tensor accumulator;  // compact rows × compact columns
  Basis basis;         // of the columns: columns × rank
  Basis row_basis;     // with two sides, of the rows: rows × rank
  std::unique_ptr<Moments> moments;
  bool owns_accumulator = true;

  // State that a checkpoint keeps.
  int64_t count = 0;  // updates that the moments have seen
  RefreshPace pace;
  bool has_basis = false;
  bool frozen_basis = false;

  // Of this step.
  bool found_now = false;  // the first basis was found for this very step
  bool filled = false;     // the accumulator (or dense gradient) holds this step's first contributions
  bool skipped = false;    // this step's gradient could not be used
  bool measured = false;   // the gradient's energy is known
  double energy = 0;       // this rank's part of ‖G‖², beyond what the basis keeps if energy_beyond
  bool energy_beyond = false;
  double captured = 0;  // this rank's part of what the basis keeps
  int dense_held = -1;
  Tensor round_basis, round_rows;  // in the search for first bases: fp32 numbers of `basis`, and of G·P's range

  bool projected() const { return projected_index >= 0; }
  Tensor own_rows() const { return accumulator.row_range(own.begin, own.count); }
};

}  // namespace galleon

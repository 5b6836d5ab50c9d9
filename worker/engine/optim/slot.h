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
  // Compact rows × compact columns: where contributions are added. Without data while a staged one has no place.
  Tensor accumulator;
  bool staged = false;
  // Own rows of what has been reduced in this step, where that is kept apart.
  bool keeps = false;
  Tensor kept;
  Basis basis;      // of the columns: columns × rank
  Basis row_basis;  // with two sides, of the rows: rows × rank
  std::unique_ptr<Moments> moments;

  // State that a checkpoint keeps.
  int64_t count = 0;  // updates that the moments have seen
  RefreshPace pace;
  bool has_basis = false;
  bool frozen_basis = false;

  // Of this step.
  bool found_now = false;    // the first basis was found for this very step
  bool filled = false;       // the accumulator (or dense gradient) holds this step's first contributions
  bool reduced = false;      // own rows hold the sum over ranks and micro-batches
  bool kept_filled = false;  // `kept` holds this step's first contributions
  Tensor sums;               // the rule's partial sums over all rows
  Tensor update;             // what the rule made of the gradient: all rows, or own ones if it does not travel
  bool skipped = false;      // this step's gradient could not be used
  bool measured = false;     // the gradient's energy is known
  double energy = 0;         // this rank's part of ‖G‖², beyond what the basis keeps if energy_beyond
  bool energy_beyond = false;
  double captured = 0;  // this rank's part of what the basis keeps
  int dense_held = -1;
  int exact_owner = -1;  // who searches this step's exact basis
  // In the search for first bases: fp32 numbers of `basis`, and of G·P's range (own rows, if accumulators are sharded).
  Tensor round_basis, round_rows;
  bool round_finite = true;

  bool projected() const { return projected_index >= 0; }
  Tensor own_rows() const { return keeps ? kept : accumulator.row_range(own.begin, own.count); }
};

}  // namespace galleon

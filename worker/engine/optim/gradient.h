// The gradient of one parameter in its compact shape: where its contributions are added up, which rows of the sum over
// ranks are this rank's own, and how far it has come in this step.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/optim/method.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// Of gradients and updates in the staging memory, bytes.
inline constexpr int64_t kStagedAlignment = 64;

struct Gradient {
  // Compact rows × compact columns; of a matrix that is updated by rows, the rows that are formed at a time. Without
  // data while a staged one has no place.
  Tensor accumulator;
  Content content = Content::kDenseGradient;  // as which it travels
  bool replicated = false;                    // every rank holds all rows of the sum
  int64_t shard_unit = 1;                     // ranks are cut at multiples of so many rows
  int turn = 0;                               // the rank that has the first piece
  RowRange own;
  bool staged = false;  // takes turns with others in the staging memory
  // Own rows of what has been reduced in this step (own.count × compact columns), where that is kept apart.
  bool keeps = false;
  Tensor kept;

  // Of this step.
  bool filled = false;       // the accumulator (or the whole gradient) holds the first contributions
  bool kept_filled = false;  // `kept` does
  bool reduced = false;      // own rows hold the sum over ranks and passes
  bool skipped = false;      // it could not be used: nothing moves
  Tensor update;             // what the rule made of it: all rows, or own ones if it does not travel

  // Shape and rows; no memory yet.
  static Gradient of(const Parameter& p, const Method& method, const Communicator& communicator);
  void begin_step();
  // Of its place in the staging memory.
  int64_t staged_bytes() const;
  // own.count × compact columns.
  Tensor own_rows() const { return keeps ? kept : accumulator.row_range(own.begin, own.count); }
  // After a reduction: own rows go where they are kept, and the accumulator is free for the next pass.
  void keep_own_rows(Device& device);
};

}  // namespace galleon

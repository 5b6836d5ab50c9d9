// One named piece of optimizer state, for checkpoints.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/tensor.h"

namespace galleon {

// Rows are those of the whole tensor that all ranks hold together.
struct StatePiece {
  std::string name;  // PARAMETER.first_moment, PARAMETER.basis, …
  Tensor tensor;     // rows [first_row, first_row + tensor.rows) of it
  int64_t first_row = 0;
  int64_t total_rows = 0;
  bool replicated = false;  // the same on all ranks: the first one saves it
};

}  // namespace galleon

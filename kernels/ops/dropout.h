// Dropout (Srivastava 2014, inverted: what is kept is scaled up) with masks that can be made again.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace galleon {

struct DropoutWords;

// Element (row, column) of a tensor is dropped if word first + number(row)·columns + column of the random stream is
// below probability·2³². The words are those of a counter (Philox 4×32-10), so that a mask depends on nothing but these
// numbers: neither on threads nor on how the rows are cut into tensors.
struct DropoutMask {
  uint64_t seed = 0;
  uint64_t stream = 0;
  int64_t first = 0;
  double probability = 0;  // 0 ≤ probability < 1
  // An int32 number ≥ 0 for each row. Empty (no rows): a row's number is its index.
  Tensor row_numbers{};
};

// The words that decide, as functions of the table take them.
DropoutWords dropout_words(const DropoutMask& mask);

// y ← x / (1 − probability) where it is kept, 0 elsewhere. x, y: fp32 or bf16, of one type and shape; y may be x. The
// gradient of x is the same function of the gradient of y.
void dropout(Device& device, const Tensor& x, const DropoutMask& mask, const Tensor& y);

}  // namespace galleon

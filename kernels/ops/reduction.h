// Tensors reduced to one number: sums, norms, finite checks, hashes.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace galleon {

// Sum of squares, accumulated in double in a fixed order of blocks. 0 on a device that does not execute.
double sum_of_squares(Device& device, const Tensor& x);
// The same, left on the device without waiting for it: `to` is 8 bytes (of type kUint8) that hold a double.
void note_sum_of_squares(Device& device, const Tensor& x, const Tensor& to);
// Sum, likewise.
double sum(Device& device, const Tensor& x);
// Whether every number is finite.
bool all_finite(Device& device, const Tensor& x);
// A 64-bit hash of the bytes of a contiguous tensor; equal bytes give equal hashes on every device.
uint64_t hash_bytes(Device& device, const Tensor& x);

}  // namespace galleon

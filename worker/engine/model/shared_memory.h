// Memory that tensors use one after the other, when their lives do not overlap.
#pragma once

#include "kernels/math/multiples.h"
#include "kernels/tensor.h"

namespace galleon {

// Lays out the tensors of one time in a piece of memory, from its beginning and without a gap that alignment does not
// need.
class SharedMemory {
 public:
  // memory: contiguous, of any type.
  explicit SharedMemory(const Tensor& memory) : memory_(memory) {}

  // What a tensor takes, in bytes.
  static int64_t bytes(int64_t rows, int64_t columns, DataType type) {
    return round_up(rows * columns * bytes_of(type), kAlignment);
  }

  // Empty, as the memory itself, where that could not be allocated.
  Tensor next(int64_t rows, int64_t columns, DataType type) {
    if (memory_.data == nullptr) return {};
    const Tensor tensor{static_cast<char*>(memory_.data) + used_, type, rows, columns, columns};
    used_ += bytes(rows, columns, type);
    GALLEON_CHECK(used_ <= bytes(memory_.rows, memory_.columns, memory_.type))
        << shape_string(tensor) << " ends at " << used_ << " in shared memory of " << shape_string(memory_);
    return tensor;
  }

 private:
  static constexpr int64_t kAlignment = 256;  // that of a GPU's allocations, which its products may rely on
  Tensor memory_;
  int64_t used_ = 0;
};

}  // namespace galleon

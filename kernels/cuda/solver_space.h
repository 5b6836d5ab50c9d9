// Scratch memory for one call of cuSOLVER, out of what the plan reserves for it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/handles.h"

namespace galleon::cuda {

// The library tells what a call needs only on a GPU. Where that is more than was reserved, the call gets memory of its
// own, outside of the ledger, and the log says how much, so that the formula can be mended.
class SolverSpace {
 public:
  SolverSpace(const char* call, int64_t order, void* reserved, int64_t reserved_bytes, size_t device_bytes,
              size_t host_bytes);
  void* device() const { return device_; }
  size_t device_bytes() const { return device_bytes_; }
  void* host() { return host_.data(); }
  size_t host_bytes() const { return host_.size(); }

 private:
  void* device_;
  size_t device_bytes_;
  DeviceMemory extra_;
  std::vector<char> host_;
};

}  // namespace galleon::cuda

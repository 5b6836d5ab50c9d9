// Scratch memory for one call of cuSOLVER, out of what the plan reserves for it.
#pragma once

#include <cstdint>

#include "kernels/cuda/handles.h"

namespace galleon::cuda {

struct Context;

// The library tells what a call needs only on a GPU. Where that is more than was reserved, the call gets memory of its
// own, outside of the ledger, and the log says how much, so that the formula can be mended. A call returns before its
// work is done and may go on reading its host memory, so that memory is the context's and lives until a later call on
// the same stream wants more; growing waits for the stream.
class SolverSpace {
 public:
  SolverSpace(Context& context, const char* call, int64_t order, void* reserved, int64_t reserved_bytes,
              size_t device_bytes, size_t host_bytes);
  void* device() const { return device_; }
  size_t device_bytes() const { return device_bytes_; }
  void* host() const { return host_; }
  size_t host_bytes() const { return host_bytes_; }

 private:
  void* device_;
  size_t device_bytes_;
  DeviceMemory extra_;
  void* host_;
  size_t host_bytes_;
};

}  // namespace galleon::cuda

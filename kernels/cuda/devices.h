// The GPUs of this process, in builds with CUDA and without.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/device.h"

namespace galleon {

// GPUs that this process sees. UNAVAILABLE: no driver, one too old, or no GPU, in a sentence; UNIMPLEMENTED: this build
// has no CUDA.
absl::StatusOr<int> cuda_device_count();

// The GPU of that index; errors as above, and RESOURCE_EXHAUSTED where it has no memory left for the libraries'
// handles. The device belongs to the thread that made it.
absl::StatusOr<std::unique_ptr<Device>> make_cuda_device(int index);

// The stream on which its operations compute, a cudaStream_t; null for other devices.
void* compute_stream(const Device& device);

}  // namespace galleon

// The machine's GPUs as their driver sees them. NVML is loaded at run time: machines without a GPU have none, and its
// header comes with no package.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace galleon {

struct GpuState {
  std::string uuid;  // "GPU-…"
  std::string name;
  uint64_t memory_bytes = 0;
  uint64_t free_bytes = 0;
  std::string fault;  // why it cannot be used; empty: sound
  // −1: this card does not tell.
  double temperature_celsius = -1;
  double utilisation = -1;  // 0 to 1
};

class Gpus {
 public:
  virtual ~Gpus() = default;
  // Every GPU in the order of their places on the bus, the same at each call; one that is lost stays in the list, with
  // its fault.
  virtual std::vector<GpuState> look() = 0;
};

// Those that CUDA_VISIBLE_DEVICES names, by UUID or number, or all where it is not set. UNAVAILABLE: no driver, or no
// GPU, in a sentence.
absl::StatusOr<std::unique_ptr<Gpus>> open_nvml();

}  // namespace galleon

// What each slot of a worker is: a GPU, or a share of the machine's processors and memory.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/workers.pb.h"
#include "worker/daemon/gpus.h"

namespace galleon {

class SlotDevices {
 public:
  // `kind`: "auto" (GPUs first, where there are some), "cpu" or "cuda" (every slot is a GPU). `gpus` may be null.
  // FAILED_PRECONDITION: fewer GPUs than slots with "cuda".
  static absl::StatusOr<SlotDevices> make(absl::string_view kind, uint32_t slots, std::unique_ptr<Gpus> gpus);

  bool is_gpu(uint32_t slot) const { return slot < gpu_slots_; }
  uint32_t gpu_slots() const { return gpu_slots_; }

  // Asks the driver. `used`: slots that hold a rank of ours, whose memory counts as free, since it is theirs to give
  // back.
  void refresh(const std::set<uint32_t>& used);
  // A trainer ended because this slot's device failed; it stays unhealthy until the worker is started again.
  void fail(uint32_t slot, absl::string_view why);

  // kind, name, uuid, memory and health of a GPU slot, without its index.
  v1::DeviceInfo describe(uint32_t slot) const;
  // As the driver gave them, with the faults that their ranks met.
  std::vector<GpuState> states() const;

 private:
  std::unique_ptr<Gpus> gpus_;
  uint32_t gpu_slots_ = 0;
  std::vector<GpuState> states_;
  std::vector<uint64_t> free_when_idle_;
  std::vector<std::string> failed_;
};

}  // namespace galleon

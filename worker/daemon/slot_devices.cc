#include "worker/daemon/slot_devices.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace galleon {

absl::StatusOr<SlotDevices> SlotDevices::make(absl::string_view kind, uint32_t slots, std::unique_ptr<Gpus> gpus) {
  SlotDevices made;
  if (kind == "cpu" || gpus == nullptr) return made;
  made.states_ = gpus->look();
  const auto count = static_cast<uint32_t>(made.states_.size());
  if (kind == "cuda" && count < slots) {
    return absl::FailedPreconditionError(absl::StrCat("--slots ", slots, " with --device cuda: this machine has ",
                                                      count, count == 1 ? " GPU" : " GPUs", ", and a slot is one GPU"));
  }
  made.gpus_ = std::move(gpus);
  made.gpu_slots_ = std::min(slots, count);
  made.states_.resize(made.gpu_slots_);
  made.failed_.resize(made.gpu_slots_);
  // A rank that an earlier daemon left may hold memory now; what is free beside it is not known before it ends.
  for (const GpuState& state : made.states_) made.free_when_idle_.push_back(state.memory_bytes);
  return made;
}

void SlotDevices::refresh(const std::set<uint32_t>& used) {
  if (gpus_ == nullptr) return;
  std::vector<GpuState> now = gpus_->look();
  now.resize(gpu_slots_);
  for (uint32_t slot = 0; slot < gpu_slots_; ++slot) {
    if (!used.contains(slot)) free_when_idle_[slot] = now[slot].free_bytes;
  }
  states_ = std::move(now);
}

void SlotDevices::fail(uint32_t slot, absl::string_view why) {
  if (is_gpu(slot) && failed_[slot].empty()) failed_[slot] = std::string(why);
}

std::vector<GpuState> SlotDevices::states() const {
  std::vector<GpuState> all = states_;
  for (uint32_t slot = 0; slot < gpu_slots_; ++slot) {
    if (!failed_[slot].empty()) all[slot].fault = failed_[slot];
  }
  return all;
}

v1::DeviceInfo SlotDevices::describe(uint32_t slot) const {
  const GpuState& state = states_[slot];
  v1::DeviceInfo info;
  info.set_kind("cuda");
  info.set_name(state.name);
  info.set_uuid(state.uuid);
  info.set_memory_bytes(state.memory_bytes);
  // In steps, so that a few pages more or less are no news.
  constexpr uint64_t kStep = uint64_t{64} << 20;
  info.set_free_memory_bytes(free_when_idle_[slot] / kStep * kStep);
  info.set_fault(!failed_[slot].empty() ? failed_[slot] : state.fault);
  info.set_healthy(info.fault().empty());
  return info;
}

}  // namespace galleon

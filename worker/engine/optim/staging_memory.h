// Room that gradients take in turns: each has a place of its own from its first contribution until it is applied.
#pragma once

#include <cstdint>
#include <map>

#include "kernels/tensor.h"

namespace galleon {

class StagingMemory {
 public:
  StagingMemory() = default;
  explicit StagingMemory(const Tensor& memory) : memory_(memory) {}
  int64_t bytes() const { return memory_.bytes(); }

  // The first gap of that many bytes; nullptr: there is none now.
  void* take(int64_t bytes) {
    int64_t at = 0;
    for (const auto& [begin, size] : taken_) {
      if (begin - at >= bytes) break;
      at = begin + size;
    }
    if (memory_.bytes() - at < bytes) return nullptr;
    taken_.emplace(at, bytes);
    return static_cast<char*>(memory_.data) + at;
  }

  // place: as take() returned it.
  void give_back(const void* place) {
    const auto at = taken_.find(static_cast<const char*>(place) - static_cast<const char*>(memory_.data));
    GALLEON_CHECK(at != taken_.end()) << "a place that nobody took";
    taken_.erase(at);
  }

 private:
  Tensor memory_;
  std::map<int64_t, int64_t> taken_;  // bytes, by the beginning
};

}  // namespace galleon

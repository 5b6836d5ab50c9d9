// What a rank sends.
#pragma once

#include <cstdint>

#include "galleon/v1/plan.pb.h"

namespace galleon {

// By all collectives together.
inline uint64_t sent_bytes(const v1::WireBytes& wire) {
  return wire.reduce_scatter() + wire.all_gather() + wire.all_reduce() + wire.reduce() + wire.broadcast();
}

}  // namespace galleon
